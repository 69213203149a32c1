"""What became known of one office, each with the moment at which it happened. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reached:
    """From this moment on an address did or did not answer (None: could not be asked)."""

    at: datetime
    role: Literal["router", "pc"]
    answers: bool | None


@dataclass(frozen=True, slots=True)
class UplinkSeen:
    """From this moment on headquarters' line did or did not work (None: not known)."""

    at: datetime
    works: bool | None


@dataclass(frozen=True, slots=True)
class AgentHeard:
    """The agent spoke, with the boot it runs in and for how many seconds that has run."""

    at: datetime
    boot_id: str
    uptime: float


@dataclass(frozen=True, slots=True)
class AgentGone:
    """Nothing was heard of the agent after this moment; `goodbye` if it said so."""

    at: datetime
    goodbye: bool


@dataclass(frozen=True, slots=True)
class HubRan:
    """From this moment on the hub did or did not run; what it knew is gone when it did not."""

    at: datetime
    running: bool


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A planned window began or ended."""

    at: datetime
    planned: bool


@dataclass(frozen=True, slots=True)
class RouterSaid:
    """The router told how many seconds it has been running."""

    at: datetime
    uptime: float


Fact = Reached | UplinkSeen | AgentHeard | AgentGone | HubRan | Maintenance | RouterSaid
"""In the order of `at`: when it happened, not when it was noticed."""
