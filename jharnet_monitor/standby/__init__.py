"""A hub's backup, and the same hub on another machine."""
