"""What if: the line of the newest call, changed as a reader asks, and how probable each grade is.

An answer takes seconds of CPU in a process of its own. One is computed at a time, a few may wait,
and answers are kept, since a reader moves a slider back and forth.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.borderline import PROBABILITIES, prediction_in
from jharnet_monitor.judge.twin.clients import BUILT_IN, Client
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.office_line import LineSource, derived
from jharnet_monitor.judge.twin.prediction import Certainty, GradePrediction
from jharnet_monitor.judge.twin.whatif import BadChange, Change, parse_change
from jharnet_monitor.live import OfficeLive
from jharnet_monitor.model import Measurement, format_utc
from jharnet_monitor.probes.conference.twin import ask
from jharnet_monitor.web.errors import Refusal

MOST_WAITING = 4
MAX_CACHED = 256


def known_clients(config: Config) -> dict[str, Client]:
    """The clients that can be asked for, by name."""
    configured = (
        Client(each.name, max_video=each.video, max_height=each.height)
        for each in config.probes.conference.clients
    )
    return {client.name: client for client in (*BUILT_IN, *configured)}


def newest_line(office: OfficeLive) -> tuple[LineModel, Measurement] | None:
    """The line of the newest call, and that call; None if no call has met a line yet."""
    calls = [m for m in office.latest.values() if m.probe == "conference"]
    for call in sorted(calls, key=lambda m: m.started_at, reverse=True):
        try:
            return LineModel.from_json(call.conditions["line"]), call
        except (KeyError, TypeError):
            continue
    return None


def measured_probabilities(office: OfficeLive) -> tuple[float, ...]:
    """The probability of each grade, 0 to 4, from the newest call that met a line; else empty."""
    met = newest_line(office)
    found = None if met is None else prediction_in(met[1].values)
    return () if found is None else found.probabilities


def completed_by(call: Measurement) -> list[LineSource]:
    """The measurements that completed the call's line; empty if the call alone shows it."""
    try:
        found = derived(call.conditions["line_evidence"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        return []
    return [source for source in found.sources if source.gave]


class WhatIf:
    """Answers, one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._cache: OrderedDict[str, GradePrediction] = OrderedDict()

    async def ask(
        self, config: Config, office: OfficeLive, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """The answer as JSON; raises `Refusal`."""
        clients = known_clients(config)
        try:
            change = parse_change(query, clients)
        except BadChange as error:
            raise Refusal(400, str(error)) from None
        met = newest_line(office)
        if met is None:
            raise Refusal(404, "no call has met this office's line yet: run the probe `conference`")
        line, call = met
        criteria = Criteria(**config.thresholds.call.model_dump())
        found = await self._answer(change.applied(line), criteria, clients[change.client])
        return _to_json(found, change, call)

    async def _answer(self, line: LineModel, criteria: Criteria, client: Client) -> GradePrediction:
        key = json.dumps([line.to_json(), repr(criteria), repr(client)], sort_keys=True)
        if key not in self._cache:
            if self._waiting >= MOST_WAITING:
                raise Refusal(
                    503, "too many questions at once; try again soon", {"Retry-After": "10"}
                )
            self._waiting += 1
            try:
                async with self._turn:
                    found = await ask(line, criteria, client)
            finally:
                self._waiting -= 1
            if found is None:
                raise Refusal(503, "no answer in time; try again soon", {"Retry-After": "30"})
            self._cache[key] = found.prediction
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return self._cache[key]


def _to_json(found: GradePrediction, change: Change, call: Measurement) -> dict[str, Any]:
    return {
        "grade": found.grade,
        "certainty": found.certainty.value,
        "borderline_grade": None if found.certainty is Certainty.CERTAIN else found.second,
        "probabilities": list(found.probabilities),
        "change": change.to_json(),
        "measured_at": format_utc(call.started_at),
        "measured_grade": call.values.get("grade"),
        "measured_probabilities": [call.values.get(name) for name in PROBABILITIES],
        "line": call.conditions["line"],
        "completed_by": [
            {
                "series": source.series,
                "measured_at": format_utc(source.measurement.started_at),
                "gave": list(source.gave),
            }
            for source in completed_by(call)
        ],
    }
