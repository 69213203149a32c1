"""Latency: ICMP echo requests, continuously and on request."""
