"""How the package reaches machines without the Internet: the offline bundle and its installer."""
