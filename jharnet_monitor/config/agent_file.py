"""The shape of an agent's file: what `jharnet-monitor agent` takes as options, written down."""

from __future__ import annotations

from jharnet_monitor.config.fields import FilePath, Identifier, Text
from jharnet_monitor.config.section import Section


class AgentFile(Section):
    """Everything is optional here: an option on the command line goes before it."""

    hub: Text | None = None
    """wss://HOST:9797/agent."""
    office: Identifier | None = None
    """As in the hub's configuration."""
    token_file: FilePath | None = None
    """Mode 600."""
    ca: FilePath | None = None
    """The hub's authority, from `jharnet-monitor tls init`."""
    spool: FilePath | None = None
    """Where results wait while the link is down."""
