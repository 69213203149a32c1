"""Outages: the live state of an office, the cause of an outage afterwards, and availability."""
