"""The declaration of a probe: all that the rest of the package knows about it.

A probe is one folder with a `probe.py` that declares it, and modules that do the work. The
declaration imports none of these modules: reports and metrics read declarations without running a
probe, so they need not load the libraries with which a probe measures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from jharnet_monitor.errors import UserError
from jharnet_monitor.model import HEADQUARTERS, Measurement, Route
from jharnet_monitor.probes.base import ProbeContext, Reading
from jharnet_monitor.probes.families import Family, OfficeFamily

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

Run = Callable[[ProbeContext], Awaitable[Reading]]
CurrentRuns = Mapping[str, Measurement]
"""The current runs of an office, or of headquarters, by series."""


class ProbeOptions(BaseModel):
    """The options of a probe that is run on request; the class of each probe adds its fields."""

    model_config = ConfigDict(extra="forbid", strict=True, use_enum_values=True)


class DisturbedBy(Enum):
    """Which of the monitor's own tests on the same line change what a probe measures."""

    NOTHING = "nothing"
    HEAVY = "heavy"
    """Any heavy probe."""
    FULL = "full"
    """Only tests that fill the line; packet trains add too little traffic to matter."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A phrase on a run: its key in `i18n.words`, and its parameters.

    A parameter is a text, a number, a value with its unit, or another phrase.
    """

    phrase: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The runs of a probe over one route, of which the newest describes the present.

    `fresh_for(config, office)` is the age in seconds up to which it does so: until the next run is
    clearly overdue. `disturbed_by` says which tests mark a run `under_load`.
    `lookback(measurement)` is the time in seconds before its start that the run also covers, or
    None where it covers no time at all.
    """

    route: Route = Route.JHARNET
    fresh_for: Callable[[Config, str], float]
    exported: bool = True
    """Has its own samples in the metrics that exist for every probe."""
    listed: bool = False
    """The office's page lists its runs one by one."""
    fills_line: bool = False
    """A run uses as much of the line as it can get or needs."""
    budget_reserved: bool = False
    """A small budget reserves bytes for these runs, in and outside the busy hour."""
    disturbed_by: DisturbedBy = DisturbedBy.NOTHING
    lookback: Callable[[Measurement], float | None] = lambda measurement: 0.0

    def is_fresh(self, config: Config, measurement: Measurement, now: datetime) -> bool:
        """Whether a run describes the present; one from the far future (a clock was set) does
        not."""
        age = (now - measurement.ended_at).total_seconds()
        return abs(age) <= self.fresh_for(config, measurement.office)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run of a probe: its options, and its interval in seconds or its time of day.

    With `by_timetable` the runs keep to the district's slots (`judge.calendar.timetable`),
    otherwise only to the interval. `offset` delays them by a fraction of the time between two
    offices, so that the jobs of one office do not coincide.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    every: float | None = None
    at: str | None = None
    by_timetable: bool = False
    offset: float = 0.0
    in_browser: bool = False
    """Runs only while the office takes part by a page in a browser."""

    @property
    def runs_a_day(self) -> float:
        """Planned runs in a day."""
        return 1.0 if self.every is None else 86400 / self.every


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One entry of `PROBES`.

    `run(context)` measures and returns a `Reading`, or raises `Failed` or `NoData`; the caller
    stops it after `time_limit(context)` seconds.

    `heavy` probes run one after the other and are charged to the byte budget: `cost(context)` is
    the largest number of IP bytes that one run puts on the line in both directions together,
    `reserve(context)` the rate in bit/s that it needs of the uplink. While an `exclusive` probe
    runs, no other heavy probe starts on its office.
    """

    name: str
    how: str = ""
    """How it measures, in a line of the README's table."""
    safeguards: str = ""
    """What keeps its figures honest, in the same line."""
    run: Run
    time_limit: Callable[[ProbeContext], float]
    options: type[ProbeOptions] = ProbeOptions
    series: tuple[Series, ...]
    jobs: Callable[[Config, Office], Iterable[Job]] = lambda config, office: ()
    """What is planned on an office; see `planned`."""
    at_headquarters: bool = False
    """Headquarters' own line is measured as well; its router is the uplink's gateway."""
    agent_tasks: tuple[str, ...] = ()
    """The names under which the hub opens the agent's half (`probes.agent_tasks`)."""
    needs_agent: Callable[[ProbeContext], bool] = lambda context: False
    heavy: bool = False
    exclusive: bool = False
    undisturbed: bool = False
    """Although it is not heavy, a run waits until no heavy probe runs on its office, and those wait
    until it has freed the line: a speed test would count its packets as traffic of others. During a
    drill it does not run."""
    cost: Callable[[ProbeContext], int] = lambda context: 0
    reserve: Callable[[ProbeContext], float] = lambda context: 0.0
    retest_after: Callable[[Config, Office, Measurement], float | None] = lambda *run: None
    """Seconds after which a doubtful run is repeated; the repetition then counts. None if it is
    not."""

    never_pruned: bool = False
    """Its measurements are rare and never pruned; of others only daily distributions are kept."""
    measures_line: bool = True
    """A day with a run counts as measured; False for a probe that needs no working line."""
    metrics: tuple[OfficeFamily, ...] = ()
    district_metrics: tuple[Family, ...] = ()
    headline: tuple[str, ...] = ()
    """The quantities that the office's page shows of each run of a `listed` series."""
    remarks: Callable[[Config, Measurement, CurrentRuns, CurrentRuns], Iterable[Remark]] = (
        lambda config, run, office, headquarters: ()
    )
    """What the page says about a run in addition to its figures. Called with the office's other
    runs (latency as of the time of the run) and headquarters' current runs.
    """
    events: Callable[[Measurement], Iterable[tuple[str, Mapping[str, Any]]]] = lambda run: ()
    """Events of a run for the event log: kind and data of each."""

    def planned(self, config: Config, office: Office) -> Iterable[Job]:
        """The jobs on an office, or on headquarters if the probe also measures that."""
        if office.id == HEADQUARTERS and not self.at_headquarters:
            return ()
        return self.jobs(config, office)

    def series_of(self, route: Route | None) -> Series:
        """The series of a route; raises `KeyError` if there is none."""
        for series in self.series:
            if series.route is route:
                return series
        raise KeyError(f"{self.name} has no runs over {route}")

    def parse_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Validate the given options; raises `UserError` with a message of one line."""
        try:
            parsed = self.options.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.options.model_fields) or "no options"
            raise UserError(f"{self.name}: {where}: {first['msg']}; it takes {known}") from None
        return parsed.model_dump(exclude_none=True)
