"""The live state as Prometheus metrics: absent when unknown, never stale, base units."""

from jharnet_monitor.metrics.registry import MetricsRegistry

__all__ = ["MetricsRegistry"]
