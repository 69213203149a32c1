"""What a probe declares of itself: all that the rest of the house knows of it.

A probe is one folder with a `probe.py` that declares it, and modules that do the work. The
declaration imports none of these: reports and the exporters of metrics read declarations and run
no probe, so they need not load the libraries that a probe measures with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from jharnet_monitor.config import Config, Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Measurement, Route
from jharnet_monitor.probes.base import AgentTask, ProbeContext, Reading
from jharnet_monitor.probes.families import Family, OfficeFamily

Run = Callable[[ProbeContext], Awaitable[Reading]]
CurrentRuns = Mapping[str, Measurement]
"""The runs of an office, or of headquarters, that speak for now, by series."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """A function by its name, `module:function`, whose module is imported when it is needed.

    >>> Deferred("math:sqrt")(9)
    3.0
    """

    target: str

    def load(self) -> Callable[..., Any]:
        """Import the module; gives the function."""
        module, _, function = self.target.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), function)
        return loaded

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.load()(*arguments)


class ProbeOptions(BaseModel):
    """What may be asked of a probe that is run by hand; a probe's own class adds fields."""

    model_config = ConfigDict(extra="forbid", strict=True, use_enum_values=True)


class DisturbedBy(Enum):
    """Which of our own tests on the same line change what a probe measures."""

    NOTHING = "nothing"
    HEAVY = "heavy"
    """Any heavy probe."""
    FULL = "full"
    """Those that fill the line: packet trains add no traffic that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The runs of a probe over one route: the newest of them, of each service, speaks for now.

    `fresh_for(config, office)` gives the seconds for which it does: until its successor is clearly
    missed. `disturbed_by` says which tests mark a run `under_load`, and `window(measurement)` the
    seconds before its start of which it tells, too; None where it tells of no time at all.
    """

    route: Route = Route.JHARNET
    fresh_for: Callable[[Config, str], float]
    exported: bool = True
    """Has samples of its own in the metrics of all probes."""
    listed: bool = False
    """Its single runs are listed on the office's page."""
    fills_line: bool = False
    """A run takes as much of the line as it can get, or needs."""
    first_claim: bool = False
    """Of a small budget, bytes are kept back for these runs in the busy hour and outside of it."""
    disturbed_by: DisturbedBy = DisturbedBy.NOTHING
    window: Callable[[Measurement], float | None] = lambda measurement: 0.0

    def is_fresh(self, config: Config, measurement: Measurement, now: datetime) -> bool:
        """Whether a run speaks for now; one from the far future (a clock was set) does not."""
        age = (now - measurement.started_at).total_seconds() - measurement.duration
        return abs(age) <= self.fresh_for(config, measurement.office)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned run of a probe: with which options, and how often (seconds) or at what time.

    With `by_timetable` the runs keep to the district's slots (`judge.calendar.timetable`), else to
    the interval alone. `offset` delays it by a share of the distance between two offices, so that
    jobs of one office do not fall together.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    every: float | None = None
    at: str | None = None
    by_timetable: bool = False
    offset: float = 0.0

    @property
    def runs_a_day(self) -> float:
        """How many runs a day it plans."""
        return 1.0 if self.every is None else 86400 / self.every


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One entry of `PROBES`.

    `run(context)` measures and returns a `Reading`, or raises `Failed` or `NoData`; the caller
    owns the time-out, which is `time_limit(context)` in seconds.

    `heavy` probes take turns and draw on the byte budget: `cost(context)` gives the most bytes that
    one run puts on the line, both ways together, `reserve(context)` the rate in bit/s that it
    takes of the uplink. While an `exclusive` one runs, no other heavy probe starts on its office.
    """

    name: str
    run: Run
    time_limit: Callable[[ProbeContext], float]
    options: type[ProbeOptions] = ProbeOptions
    series: tuple[Series, ...]
    jobs: Callable[[Config, Office], Iterable[Job]] = lambda config, office: ()
    """What is planned on an office, or on headquarters in the place of one."""
    agent_tasks: Mapping[str, AgentTask] = field(default_factory=dict)
    """The agent's halves, by the names that the hub's half opens and an agent offers."""
    needs_agent: Callable[[ProbeContext], bool] = lambda context: False

    heavy: bool = False
    exclusive: bool = False
    cost: Callable[[ProbeContext], int] = lambda context: 0
    reserve: Callable[[ProbeContext], float] = lambda context: 0.0
    retest_after: Callable[[Config, Office, Measurement], float | None] = lambda *run: None
    """Seconds after which a run is repeated, and counts only then; None where it counts at once."""

    kept: bool = False
    """Its measurements are rare and never pruned; else each day's distribution remains."""
    tells_of_line: bool = True
    """A day counts as measured where it has a run; False for what needs no working line."""
    metrics: tuple[OfficeFamily, ...] = ()
    district_metrics: tuple[Family, ...] = ()
    headline: tuple[str, ...] = ()
    """The quantities that one line on the office's page shows of a run."""
    remark: Callable[[Config, Measurement, CurrentRuns, CurrentRuns], str | None] = (
        lambda config, run, office, headquarters: None
    )
    """What the page says of a run beside its figures: the key of a phrase, or None.

    By what else is known of the office, with the latency at the time of the run, and what is known
    now of headquarters.
    """

    def series_of(self, route: Route) -> Series:
        """The series of a route; raises `KeyError`."""
        for series in self.series:
            if series.route is route:
                return series
        raise KeyError(f"{self.name} has no runs over {route}")

    def parse_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options that were given, checked; raises `UserError` in one line."""
        try:
            parsed = self.options.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(self.options.model_fields) or "no options"
            raise UserError(f"{self.name}: {where}: {first['msg']}; it takes {known}") from None
        return parsed.model_dump(exclude_none=True)
