"""Latency: echo requests, always on and on request."""
