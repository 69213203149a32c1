"""Brings the package to machines without the Internet: the offline bundle and its installer."""
