"""The current state of every office and of the hub; metrics and pages read nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jharnet_monitor.clock import is_newer
from jharnet_monitor.errors import Trouble
from jharnet_monitor.model import (
    HEADQUARTERS,
    LONG_TESTS,
    Direction,
    Measurement,
    OfficeState,
    Outcome,
)
from jharnet_monitor.supervisor import PartStatus

if TYPE_CHECKING:
    from jharnet_monitor.config import Config
    from jharnet_monitor.config.current import CurrentConfig

RTT_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the round-trip time histogram, in seconds; one more bucket has no bound."""


UPDATE_STATES = (
    "waiting", "fetching", "installing", "trial", "updated", "refused", "rolled_back", "unable",
)  # fmt: skip
"""How an office may stand with a version that is offered to its agent; `unable`: the agent cannot
update itself, or the version is not made for its machine."""


@dataclass(slots=True)
class RttHistogram:
    """Histogram of round-trip times since the database was created.

    >>> h = RttHistogram()
    >>> for seconds in (0.001, 0.04, 7.0):
    ...     h.observe(seconds)
    >>> h.cumulative()[0], h.cumulative()[-2], h.cumulative()[-1], round(h.total_seconds, 3)
    (1, 2, 3, 7.041)
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(RTT_BOUNDS) + 1))
    """Per bucket, not cumulative; `counts[i]` belongs to `RTT_BOUNDS[i]`, the last to no bound."""
    total_seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one round trip."""
        self.counts[bisect_left(RTT_BOUNDS, seconds)] += 1
        self.total_seconds += seconds

    def cumulative(self) -> list[int]:
        """Cumulative counts per bound; the last is the total."""
        total = 0
        return [total := total + count for count in self.counts]


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """What a person's check of camera, microphone and loudspeaker found at an office."""

    at: datetime
    findings: Mapping[str, str]
    """The finding on each device of `wire.device_check.DEVICE_FINDINGS`."""


@dataclass(slots=True)
class AgentLive:
    """The state of an office's agent."""

    connected: bool = False
    boot_id: str | None = None
    version: str | None = None
    kind: str | None = None
    """`program` or `browser`; None if it never connected."""
    last_heard: datetime | None = None
    signed_off: bool = False
    spooled: int | None = None
    """Measurements that the agent has not sent yet; None if not known."""
    dropped: int = 0
    """Measurements that the agent lost because its spool was full."""
    refused: int = 0
    """Measurements that were refused since the hub's start; the agent keeps them."""
    check: DeviceCheck | None = None
    """The newest check of camera, microphone and loudspeaker on the join page."""
    clock_offset: float | None = None
    """Seconds by which the agent's clock is ahead of the hub's; None if not known."""
    update: Mapping[str, Any] | None = None
    """What the agent reported of its last update: version, serial, state, why."""
    update_state: str | None = None
    """How the office stands with the version that is offered, one of `UPDATE_STATES`; None while
    none is."""


@dataclass(frozen=True, slots=True)
class PastOutage:
    """An outage that is over. `attributed_at` is when its cause became known, which may be after
    its end."""

    cause: OfficeState
    """`link_down`, `power_down`, or `unreachable` if it is not known."""
    began: datetime
    ended: datetime
    attributed_at: datetime


@dataclass(slots=True)
class OfficeLive:
    """The current state of an office, or of headquarters.

    By series (`model.series_key`): `latest` holds the run that ended last, with any outcome,
    `last_conclusive` the last `ok` or `failed` one, `last_ok` the last `ok` one. The latter two
    leave out speed tests that will be repeated.
    """

    state: OfficeState = OfficeState.UNKNOWN
    since: datetime | None = None
    outage_start: datetime | None = None
    """When the office stopped answering; None once it answers again."""
    outages: int = 0
    """Outages that are over."""
    last_seen: datetime | None = None
    agent: AgentLive = field(default_factory=AgentLive)
    latest: dict[str, Measurement] = field(default_factory=dict)
    last_conclusive: dict[str, Measurement] = field(default_factory=dict)
    last_ok: dict[str, Measurement] = field(default_factory=dict)
    last_long_tests: dict[str, Measurement] = field(default_factory=dict)
    """The newest speed test with a long stream in each direction, by `model.LONG_TESTS`."""
    running: tuple[str, ...] = ()
    """The probes that run now."""
    filled_by: tuple[str, ...] = ()
    """Those of them that fill the line."""
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of recorded runs by (probe, outcome) since the database was created."""
    packets_sent: int = 0
    """Echo requests whose outcome is known, since the hub's start or its last clean stop."""
    packets_received: int = 0
    rtt_buckets: RttHistogram = field(default_factory=RttHistogram)
    bytes_spent_today: int = 0
    last_outage: PastOutage | None = None

    def recent(self) -> dict[str, Measurement]:
        """The newest `ok` runs by series, and the newest long tests."""
        return self.last_ok | self.last_long_tests

    def count_echo(self, answered: bool, rtt: float | None) -> None:
        """Count an echo request, the moment its outcome is known; `rtt` is in seconds."""
        self.packets_sent += 1
        self.packets_received += answered
        if rtt is not None:
            self.rtt_buckets.observe(rtt)


@dataclass(slots=True)
class HubStatus:
    """The hub's own health. A value is None if it is not known; its metric is then absent."""

    started_at: datetime | None = None
    url: str | None = None
    """Address under which people reach the hub."""
    office_hours: bool | None = None
    """Whether it is within office hours, by the district's calendar."""
    schedule_lag: float | None = None
    """Seconds by which the last job started late."""
    schedule_last_run: datetime | None = None
    schedule_missed: Counter[str] = field(default_factory=Counter)
    """Missed runs by probe or job."""
    loop_lag: float | None = None
    """Seconds by which the event loop last woke up late."""
    clock_synchronized: bool | None = None
    clock_steps: int = 0
    database_bytes: int | None = None
    database_errors: int = 0
    database_failing: bool = False
    """Whether the newest write to the database failed."""
    database_trouble: Trouble = Trouble.UNKNOWN
    """Why it failed, while `database_failing`."""
    database_written: float | None = None
    """When a write last succeeded, in monotonic seconds."""
    writes_waiting: int = 0
    """Records waiting on disk while the database accepts none."""
    writes_dropped: int = 0
    """Records lost because the waiting queue was full, too."""
    writes_set_aside: int = 0
    """Records on disk that the database refused."""
    parts: PartStatus = field(default_factory=PartStatus)
    """Restarts and failures of the parts of the hub."""
    disk_free_bytes: int | None = None
    report_last_sent: datetime | None = None
    report_due: datetime | None = None
    """When the newest report should have been sent."""
    report_failures: int = 0
    backup_at: datetime | None = None
    """When the newest backup was made and shipped."""
    backup_due: datetime | None = None
    """When the newest backup should have been made; None if none is configured."""
    backup_failures: int = 0
    state_push_at: datetime | None = None
    """When the state took the newest week."""
    state_push_failures: int = 0
    state_push_refused: Mapping[str, str] = field(default_factory=dict)
    """By name of a due week: why the state refused it for good."""
    reload_success: bool | None = None
    reload_at: datetime | None = None
    """When the configuration in force was loaded."""
    certificate_expires: datetime | None = None


class Live:
    """The live state of the district."""

    def __init__(self, current: CurrentConfig) -> None:
        self._current = current
        self.offices: dict[str, OfficeLive] = {o.id: OfficeLive() for o in self.config.offices}
        self.headquarters = OfficeLive()
        """Headquarters' measurements of its own line; it is not listed among the offices."""
        self.uplink_up: bool | None = None
        """None while not known: no gateway is configured, or it was not pinged yet."""
        self.uplink_since: datetime | None = None
        """When `uplink_up` last became True or False."""
        self.hub = HubStatus()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._current.config

    def of(self, office_id: str) -> OfficeLive | None:
        """The state of an office or of headquarters; None if it is not configured."""
        return self.headquarters if office_id == HEADQUARTERS else self.offices.get(office_id)

    def recent(self, office_id: str) -> dict[str, Measurement]:
        """The newest `ok` runs of an office or of headquarters; empty if it is not configured."""
        office = self.of(office_id)
        return {} if office is None else office.recent()

    def update(self, measurement: Measurement, now: datetime | None = None) -> None:
        """Count a measurement, and keep it as the latest of its series unless a newer one is known.

        With `now`, a known one that lies ahead of it, from before the clock was set back, is not
        newer.
        """
        office = self.of(measurement.office)
        if office is None:
            return
        route = measurement.route
        if route is None or not route.by_agent:
            self.count(office, measurement.probe, measurement.outcome.value, 1)
        self.restore(measurement, now)

    @staticmethod
    def count(office: OfficeLive, probe: str, outcome: str, runs: int) -> None:
        """Add runs to an office's counters; those of the agent's own do not count."""
        office.runs[probe, outcome] += runs

    def restore(self, measurement: Measurement, now: datetime | None = None) -> None:
        """Like `update`, for a measurement that was counted before a restart."""
        office = self.of(measurement.office)
        if office is None:
            return
        key = measurement.series
        _keep_newer(office.latest, key, measurement, now)
        if not measurement.is_conclusive:
            return
        if measurement.outcome is not Outcome.NO_DATA:
            _keep_newer(office.last_conclusive, key, measurement, now)
        if measurement.outcome is Outcome.OK:
            _keep_newer(office.last_ok, key, measurement, now)
            for way in Direction:
                if f"{way.transfer}_sustained_bits_per_second" in measurement.values:
                    _keep_newer(office.last_long_tests, LONG_TESTS[way], measurement, now)

    def set_state(self, office_id: str, state: OfficeState, at: datetime) -> bool:
        """Set an office's state; returns whether it changed."""
        office = self.offices[office_id]
        if office.state is state:
            return False
        office.state, office.since = state, at
        return True

    def counters(self) -> dict[str, Any]:
        """All counters as JSON data, to be kept over a restart."""
        hub = self.hub
        return {
            "offices": {
                office_id: {
                    "runs": [[*key, count] for key, count in office.runs.items()],
                    "packets": [office.packets_sent, office.packets_received],
                    "outages": office.outages,
                    "rtt": [office.rtt_buckets.counts, office.rtt_buckets.total_seconds],
                }
                for office_id, office in self.offices.items()
            },
            "self": {
                "schedule_missed": dict(hub.schedule_missed),
                "clock_steps": hub.clock_steps,
                "database_errors": hub.database_errors,
                "report_failures": hub.report_failures,
            },
        }

    def restore_counters(self, data: Mapping[str, Any]) -> None:
        """Restore what `counters` returned; offices that are no longer configured are ignored."""
        for office_id, stored in data.get("offices", {}).items():
            office = self.offices.get(office_id)
            if office is None:
                continue
            office.runs = Counter({(p, outcome): count for p, outcome, count in stored["runs"]})
            office.packets_sent, office.packets_received = stored["packets"]
            office.outages = stored.get("outages", 0)
            counts, total_seconds = stored["rtt"]
            if len(counts) == len(office.rtt_buckets.counts):  # bounds may differ by version
                office.rtt_buckets = RttHistogram(list(counts), total_seconds)
        saved = data.get("self", {})
        self.hub.schedule_missed = Counter(saved.get("schedule_missed", {}))
        self.hub.clock_steps = saved.get("clock_steps", 0)
        self.hub.database_errors = saved.get("database_errors", 0)
        self.hub.report_failures = saved.get("report_failures", 0)


def _keep_newer(
    stored: dict[str, Measurement], key: str, measurement: Measurement, now: datetime | None
) -> None:
    """Keep what ended last. (A planned call that is refused while one is running begins after it,
    and must not hide its result.)
    """
    known, at = stored.get(key), measurement.ended_at
    if known is None or is_newer(at, known.ended_at, now or known.ended_at):
        stored[key] = measurement
