"""Bandwidth: throughput between agent and hub, and packet trains."""
