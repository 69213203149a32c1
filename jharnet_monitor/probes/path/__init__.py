"""The path probe: which routers lead to an office and back, and where the way loses packets."""
