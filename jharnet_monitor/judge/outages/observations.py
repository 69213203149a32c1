"""What became known about one office, each with the time at which it happened. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReachabilityChange:
    """From `at` on an address answered or did not; None if it could not be pinged."""

    at: datetime
    role: Literal["router", "pc"]
    answers: bool | None


@dataclass(frozen=True, slots=True)
class UplinkChange:
    """From `at` on headquarters' uplink worked or did not; None if that is not known."""

    at: datetime
    works: bool | None


@dataclass(frozen=True, slots=True)
class AgentConnected:
    """The agent connected: the PC's boot id, and its uptime in seconds."""

    at: datetime
    boot_id: str
    uptime: float


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The agent was silent after `at`; `goodbye` if it signed off."""

    at: datetime
    goodbye: bool


@dataclass(frozen=True, slots=True)
class HubChange:
    """From `at` on the hub ran or did not; a hub that stops forgets what it knew."""

    at: datetime
    running: bool


@dataclass(frozen=True, slots=True)
class MaintenanceChange:
    """Planned maintenance began or ended at `at`."""

    at: datetime
    planned: bool


@dataclass(frozen=True, slots=True)
class RouterUptime:
    """The router's uptime in seconds (SNMP sysUpTime), read at `at`."""

    at: datetime
    uptime: float


Observation = (
    ReachabilityChange
    | UplinkChange
    | AgentConnected
    | AgentGone
    | HubChange
    | MaintenanceChange
    | RouterUptime
)
"""Ordered by `at`, when it happened, not when it was noticed."""
