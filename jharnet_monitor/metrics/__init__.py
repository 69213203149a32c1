"""The live state as Prometheus metrics in base units; unknown or stale values are absent."""

from jharnet_monitor.metrics.registry import MetricsRegistry

__all__ = ["MetricsRegistry"]
