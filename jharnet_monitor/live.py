"""What is known of every office right now: the one source of the metrics and the pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from jharnet_monitor.config import Config
from jharnet_monitor.model import Measurement, OfficeState, Outcome


@dataclass(slots=True)
class AgentLive:
    """The agent's session as it stands."""

    connected: bool = False
    boot_id: str | None = None
    version: str | None = None
    last_heard: datetime | None = None
    said_goodbye: bool = False
    spooled: int | None = None
    """Measurements that the agent still holds; None when not known."""


@dataclass(slots=True)
class OfficeLive:
    """One office now. `latest` holds the last run of a probe whatever its outcome, `good` the
    last that was `ok`; for bandwidth the key is `bandwidth` (JharNet) or `bandwidth/internet`."""

    state: OfficeState = OfficeState.UNKNOWN
    since: datetime | None = None
    last_seen: datetime | None = None
    agent: AgentLive = field(default_factory=AgentLive)
    latest: dict[str, Measurement] = field(default_factory=dict)
    good: dict[str, Measurement] = field(default_factory=dict)
    running: tuple[str, ...] = ()
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each (probe, outcome) was recorded since the database was made."""
    packets_sent: int = 0
    packets_received: int = 0
    bytes_spent_today: int = 0


class Live:
    """The live state of the whole district."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.offices: dict[str, OfficeLive] = {o.id: OfficeLive() for o in config.offices}
        self.uplink_up: bool | None = None
        """None while not known: no gateway is configured, or it was not asked yet."""

    def take(self, measurement: Measurement) -> None:
        """Let a measurement become the latest of its office and probe, unless an older one."""
        office = self.offices.get(measurement.office)
        if office is None:
            return
        office.runs[measurement.probe, measurement.outcome.value] += 1
        office.packets_sent += int(measurement.values.get("sent", 0))
        office.packets_received += int(measurement.values.get("received", 0))
        key = slot(measurement)
        _newer(office.latest, key, measurement)
        if measurement.outcome is Outcome.OK:
            _newer(office.good, key, measurement)

    def set_state(self, office_id: str, state: OfficeState, at: datetime) -> bool:
        """Set an office's state; True when it changed."""
        office = self.offices[office_id]
        if office.state is state:
            return False
        office.state, office.since = state, at
        return True


def slot(measurement: Measurement) -> str:
    """Under which key a measurement is the latest: its probe, and its path when not JharNet's."""
    path = measurement.conditions.get("path", "jharnet")
    return measurement.probe if path == "jharnet" else f"{measurement.probe}/{path}"


def _newer(held: dict[str, Measurement], key: str, measurement: Measurement) -> None:
    if key not in held or held[key].started_at <= measurement.started_at:
        held[key] = measurement
