"""The configuration: one YAML file, read strictly."""

from jharnet_monitor.config.schema import Config, Office

__all__ = ["Config", "Office"]
