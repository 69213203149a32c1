"""Writes the pages of the help that are made from the code, and only those.

`python -m jharnet_monitor.help.generate` writes them again. It reads every room of the house, and
no room imports it. A test holds the written pages equal to what the code says now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jharnet_monitor.help.generate.commands import commands_page
from jharnet_monitor.help.generate.configuration import configuration_page
from jharnet_monitor.help.generate.http import http_page
from jharnet_monitor.help.generate.metrics import metrics_page

GENERATED: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "commands": commands_page,
        "configuration": configuration_page,
        "http": http_page,
        "metrics": metrics_page,
    }
)
"""By the name of the page, what gives its Markdown."""
