"""Reads the raw data of a dossier, file by file, into the measurements behind the figures.

Building and verifying both use it, so that a figure can only depend on enclosed records of the
period.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jharnet_monitor.config import Config
from jharnet_monitor.dossier.archive import plausible
from jharnet_monitor.dossier.form import FormError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.judge.faults import FAULT
from jharnet_monitor.judge.line.interface_faults import LanReadings
from jharnet_monitor.judge.line.loss import PacketCounts
from jharnet_monitor.judge.line.traffic import TrafficReadings
from jharnet_monitor.model import MADE_UP, Measurement, OfficeState, Outcome, Route
from jharnet_monitor.probes import PROBES
from jharnet_monitor.report.data.collect import DOWN, LINE, UP
from jharnet_monitor.store import Transition
from jharnet_monitor.store.pruning import PRUNED, SETTINGS
from jharnet_monitor.store.tables import from_ms, to_ms

Numbers = NDArray[np.float64]
OF_THE_LINE = frozenset(name for name, probe in PROBES.items() if probe.measures_line)
"""Probes that measure the line; a day counts as measured if one of them ran."""
_COLUMNS = ("sent", "received", "rtt_p50_seconds", "jitter_seconds")


@dataclass(slots=True)
class Minutes:
    """Latency minutes of one office: start (ms since 1970), index of the day, and a column per
    quantity.
    """

    at: list[NDArray[np.int64]] = field(default_factory=list)
    day: list[NDArray[np.int64]] = field(default_factory=list)
    columns: dict[str, list[Numbers]] = field(default_factory=lambda: defaultdict(list))

    def of(self, name: str) -> tuple[NDArray[np.int64], Numbers]:
        """Day indices and values of one quantity, of the minutes that have it."""
        if not self.day:
            return np.empty(0, np.int64), np.empty(0)
        days, values = np.concatenate(self.day), np.concatenate(self.columns[name])
        known = ~np.isnan(values)
        return days[known], values[known]

    def packets(self) -> PacketCounts:
        """The packets of the minutes with a reply."""
        found = PacketCounts()
        for number, at in enumerate(self.at):
            sent, received = (self.columns[name][number] for name in ("sent", "received"))
            answered = (received > 0) & ~np.isnan(sent)
            found.add(at[answered], sent[answered], received[answered])
        return found


class DossierEvidence:
    """All measurements of a period, from the files of a dossier."""

    def __init__(self, config: Config, period: Period) -> None:
        self.config = config
        self.period = period
        self.minutes: dict[str, Minutes] = defaultdict(Minutes)
        self.traffic: dict[str, TrafficReadings] = defaultdict(TrafficReadings)
        self.lan: dict[str, LanReadings] = defaultdict(LanReadings)
        self.runs: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.transitions: dict[str, list[Transition]] = defaultdict(list)
        self.drills: dict[str, Drill] = {}
        self.database_events: list[tuple[str, datetime, str]] = []
        self.made_up = False
        """Nothing of it was measured: the log says so, or a measurement."""
        self.fault_entries: list[tuple[str, Mapping[str, Any]]] = []
        """Kind, when it was recorded, and data of events on the records themselves."""
        self.days: dict[str, set[int]] = defaultdict(set)
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.last_minute: datetime | None = None
        self._midnights = np.array(
            [to_ms(datetime.combine(day, time(), period.start.tzinfo)) for day in period.days]
        )

    def add(self, kind: str, table: pa.Table) -> None:
        """Add the records of one file (`form.typed`); raises `FormError`."""
        try:
            if kind == "transitions":
                self._add_transitions(table)
            elif kind == "drills":
                self._add_drills(table)
            elif kind == "events":
                self._add_events(table)
            elif kind != "windows":
                self._add_measurements(kind, table)
        except (
            ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
        ) as error:  # fmt: skip
            raise FormError(f"a record of `{kind}` cannot be read: {error!r}") from error

    def _add_measurements(self, probe: str, table: pa.Table) -> None:
        started = table["started_at"].to_numpy()
        inside = (started >= to_ms(self.period.start)) & (started < to_ms(self.period.end))
        if not inside.any():
            return
        table, started = table.filter(pa.array(inside)), started[inside]
        self._see(started, probe)
        day = np.searchsorted(self._midnights, started, side="right") - 1
        offices = table["office"].combine_chunks().dictionary_encode()
        for code, office in enumerate(offices.dictionary.to_pylist()):
            mine = offices.indices.to_numpy() == code
            self.counts[office, probe] += int(mine.sum())
            if probe in OF_THE_LINE:
                self.days[office].update(np.unique(day[mine]).tolist())
            if probe == "latency":
                self._add_minutes(office, table.filter(pa.array(mine)), day[mine])
            elif probe == "utilisation":
                self._add_traffic(office, table.filter(pa.array(mine)))
            elif probe in PROBES and PROBES[probe].never_pruned:
                runs = _measurements(table.filter(pa.array(mine)), probe)
                self.made_up = self.made_up or any(MADE_UP in run.conditions for run in runs)
                self.runs[office, probe] += runs

    def _add_minutes(self, office: str, table: pa.Table, day: NDArray[np.int64]) -> None:
        """Add minutes of latency, except those during our own tests and those that an agent
        measured to its own gateway.
        """
        usable = _of_the_line(table)
        minutes = self.minutes[office]
        minutes.at.append(table["started_at"].to_numpy()[usable])
        minutes.day.append(day[usable])
        for name in _COLUMNS:
            if name in table.column_names:
                values = table[name].to_numpy()[usable]
            else:
                values = np.full(int(usable.sum()), np.nan)
            minutes.columns[name].append(values)

    def _add_traffic(self, office: str, table: pa.Table) -> None:
        """Add the router's interface readings, except those during our own tests."""
        for text, count in Counter(table["conditions"].to_pylist()).items():
            self.lan[office].add(json.loads(text), count)
        if not {"window_seconds", DOWN, UP}.issubset(table.column_names):
            return
        seconds = table["window_seconds"].to_numpy()
        usable = _of_the_line(table) & ~np.isnan(seconds)
        down, up = (table[name].to_numpy()[usable] for name in (DOWN, UP))
        self.traffic[office].add(table["started_at"].to_numpy()[usable], seconds[usable], down, up)

    def _see(self, started: NDArray[np.int64], probe: str) -> None:
        first, last = from_ms(int(started.min())), from_ms(int(started.max()))
        self.first = first if self.first is None else min(first, self.first)
        self.last = last if self.last is None else max(last, self.last)
        if probe == "latency":
            self.last_minute = max(last, self.last_minute or last)

    def _add_transitions(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self.transitions[row["office"]].append(
                Transition(
                    number=row["number"],
                    office=row["office"],
                    state=OfficeState(row["state"]),
                    at=_moment(row["at"]),
                    until=None if row["until"] is None else _moment(row["until"]),
                    evidence={},
                    recorded_at=_moment(row["recorded_at"]),
                    supersedes=row["supersedes"],
                )
            )

    def _add_events(self, table: pa.Table) -> None:
        """Keep the events on the records themselves (settings in force, prunings), and the entries
        of the fault ledger.
        """
        for row in table.to_pylist():
            if row["kind"] in (PRUNED, SETTINGS):
                event = row["kind"], _moment(row["recorded_at"]), row["data"]
                self.database_events.append(event)
            elif row["kind"] == MADE_UP:
                self.made_up = True
            elif row["kind"] == FAULT:
                self.fault_entries.append((row["office"], json.loads(row["data"])))

    def _add_drills(self, table: pa.Table) -> None:
        """Add drills; the newest record of a drill is valid."""
        for row in table.to_pylist():
            if to_ms(self.period.start) <= row["started_at"] < to_ms(self.period.end):
                self.drills[row["id"]] = Drill.from_json(json.loads(row["body"]))

    def calls(self, office: str) -> Sequence[Measurement]:
        """The conference tests of an office, without the ungraded galleries of drills."""
        runs = self.runs.get((office, "conference"), ())
        return [run for run in runs if run.route is Route.JHARNET]

    def tests(self, office: str) -> Sequence[Measurement]:
        """The speed tests of an office's line that gave a result, ordered by start."""
        runs = self.runs.get((office, "bandwidth"), ())
        tests = [run for run in runs if run.outcome is Outcome.OK and run.route in LINE]
        return sorted(tests, key=lambda run: run.started_at)

    def day(self, moment: datetime) -> int:
        """The index in the period of the day of `moment`."""
        return int(np.searchsorted(self._midnights, to_ms(moment), side="right")) - 1


def _moment(ms: int) -> datetime:
    return plausible(from_ms(ms))


def _of_the_line(table: pa.Table) -> NDArray[np.bool_]:
    """Which runs were made over JharNet and not during our own tests."""
    conditions = table["conditions"].combine_chunks().dictionary_encode()
    distinct = [json.loads(text) for text in conditions.dictionary.to_pylist()]
    counts = [
        c.get("path", Route.JHARNET) == Route.JHARNET and not c.get("under_load") for c in distinct
    ]
    usable: NDArray[np.bool_] = np.array(counts, dtype=bool)[conditions.indices.to_numpy()]
    return usable


def _measurements(table: pa.Table, probe: str) -> list[Measurement]:
    return [_measurement(row, probe) for row in table.to_pylist()]


def _measurement(row: Mapping[str, Any], probe: str) -> Measurement:
    plain = ("id", "office", "probe", "path", "started_at", "recorded_at", "duration", "outcome",
             "cause", "conditions")  # fmt: skip
    return Measurement(
        office=row["office"],
        probe=probe,
        started_at=from_ms(row["started_at"]),
        duration=row["duration"],
        outcome=Outcome(row["outcome"]),
        cause=row["cause"],
        conditions=json.loads(row["conditions"]),
        values={k: v for k, v in row.items() if k not in plain and v is not None},
        id=row["id"],
    )
