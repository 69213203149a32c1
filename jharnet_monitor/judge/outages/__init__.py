"""Outages: the state of an office now, and what an outage turned out to be."""
