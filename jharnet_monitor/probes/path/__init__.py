"""The path probe: the routers on the path to an office and back, and where packets are lost."""
