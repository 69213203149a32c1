"""Backs a hub up, and restores it on the same or another machine."""
