"""The schema of an agent's file, which has the options of `jharnet-monitor agent` as keys."""

from __future__ import annotations

from jharnet_monitor.config.fields import FilePath, Identifier, Text
from jharnet_monitor.config.section import Section


class AgentFile(Section):
    """Every key is optional; an option on the command line overrides it."""

    hub: Text | None = None
    """wss://HOST:9797/agent."""
    office: Identifier | None = None
    """The office's id in the hub's configuration."""
    token_file: FilePath | None = None
    """Mode 600."""
    ca: FilePath | None = None
    """The authority of the hub's certificate, from `jharnet-monitor tls init`."""
    spool: FilePath | None = None
    """Where results wait while the link is down."""
