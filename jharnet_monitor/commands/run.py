"""`run`: run the hub at headquarters until a signal stops it."""

from __future__ import annotations

import asyncio

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.options import DEFAULT_CONFIG, ConfigFile, LogLevel
from jharnet_monitor.commands.process import set_up_logging, until_signal
from jharnet_monitor.config.load import load_config
from jharnet_monitor.hub.daemon import Hub


def run(config: ConfigFile = DEFAULT_CONFIG, log_level: LogLevel = "info") -> None:
    """Run the hub: scheduler, probes, agent endpoint, web pages, API and metrics."""
    set_up_logging(log_level)
    hub = Hub(config, load_config(config), SystemClock())
    asyncio.run(until_signal(hub.run, hub.stop, reload=hub.reload_from_signal))
