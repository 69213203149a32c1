"""The schema of an agent's file; its keys are the options of `jharnet-monitor agent`."""

from __future__ import annotations

from jharnet_monitor.config.fields import AgentAddress, FilePath, Identifier, Text
from jharnet_monitor.config.section import Section


class AgentFile(Section):
    """Every key is optional; an option on the command line overrides it."""

    hub: AgentAddress | None = None
    """Address of the hub, wss://HOST:9797/agent."""
    office: Identifier | None = None
    """The office's id in the hub's configuration."""
    token_file: FilePath | None = None
    """File with the office's token, mode 600."""
    ca: FilePath | None = None
    """CA certificate of the hub (`ca.pem`), made by `jharnet-monitor tls init`."""
    spool: FilePath | None = None
    """Directory for results that are not yet sent to the hub."""
    release_key: Text | None = None
    """Key that updates from the hub must be signed with; enrolment writes it. Without it the agent
    takes no updates."""
    updates: FilePath | None = None
    """Directory for updates; by default the spool's name with `-updates` behind it."""
