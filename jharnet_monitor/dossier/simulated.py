"""Derives the probabilities of calls again: simulates them on the line that each call stored.

That takes seconds of CPU a call, so a sample is simulated, drawn by the root of the chain. What
follows from the stored values alone, the seed and the certainty, is derived for every call.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jharnet_monitor.judge.conference.grade import Criteria, GradeLimit
from jharnet_monitor.judge.twin.borderline import (
    PROBABILITIES,
    borderline_grade,
    prediction_in,
)
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.decision import Held, decided
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.prediction import GRADES, seed_of
from jharnet_monitor.judge.twin.stored_whatif import DECIMALS, MOST_CHANGES, ChangeAnswer
from jharnet_monitor.model import Direction, Measurement
from jharnet_monitor.probes.conference import twin_process
from jharnet_monitor.worker_process import ask_process

SAMPLE = 8
"""Calls that are simulated again."""
MOST_CPU = 60.0
"""Seconds of CPU for the sample; it ends after the call that exceeds them."""
TIME_LIMIT = 900.0
"""Seconds of real time for one call."""
TOLERANCE = 0.35
"""By which a probability may differ where numpy's functions give other last digits here: its runs
are then others, and that is four standard errors of the share of 32 of them."""

Question = dict[str, Any]
Derive = Callable[[Question], Mapping[str, Any]]


@dataclass(slots=True)
class SimulatedCalls:
    """How many calls have probabilities, and how many of them were derived again."""

    calls: int = 0
    other_model: int = 0
    """Of them by another version of the simulation, or under other criteria of a grade."""
    derived: int = 0
    other_arithmetic: int = 0
    """Of the derived ones on another kind of processor or by another numpy: compared roughly."""

    def note(self) -> str:
        """What was derived, in a sentence; empty if no call has probabilities."""
        if not self.calls:
            return ""
        parts = [
            f"the probabilities of {self.derived} of {self.calls} simulated calls derived again"
        ]
        if same := self.derived - self.other_arithmetic:
            parts.append(f"{same} of them equal to the last digit")
        if self.other_arithmetic:
            parts.append(
                f"{self.other_arithmetic} within {TOLERANCE:g}, since numpy or processor differ"
            )
        if self.other_model:
            parts.append(
                f"{self.other_model} cannot be derived here, since another version of the"
                " simulation made them"
            )
        return "; ".join(parts)


def derived_in_process(question: Question) -> Mapping[str, Any]:
    """The answer of the simulation's own process; raises `ValueError` without one."""
    try:
        return dict(asyncio.run(ask_process(twin_process.__name__, question, TIME_LIMIT)))
    except TimeoutError as error:
        raise ValueError(f"no answer within {TIME_LIMIT:.0f} s") from error


def differences(
    calls: Sequence[Measurement],
    criteria: Criteria,
    root: str,
    report_progress: Callable[[str], None],
    counted: SimulatedCalls,
    *,
    every: bool = False,
    derive: Derive | None = None,
) -> Iterator[str]:
    """A message for each call whose probabilities do not follow from its line.

    `every` simulates all calls instead of a sample; `counted` is filled in.
    """
    simulated = sorted((call for call in calls if "line" in call.conditions), key=lambda c: c.id)
    counted.calls = len(simulated)
    for call in simulated:
        for problem in _stored_differences(call):
            yield f"{_name(call)}: {problem}"
    model = twin_process.model_version(asdict(criteria))
    same = [call for call in simulated if _version(call)[0] == model]
    counted.other_model = len(simulated) - len(same)
    chosen = same if every else random.Random(root).sample(same, min(SAMPLE, len(same)))
    spent = 0.0
    for number, call in enumerate(chosen, 1):
        if spent > MOST_CPU and not every:
            break
        report_progress(f"simulated call {number} of {len(chosen)} …")
        try:
            found = (derive or derived_in_process)(_question(call, criteria))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            yield f"{_name(call)}: its probabilities cannot be derived: {error!r}"
            continue
        spent += found["cpu_seconds"]
        counted.derived += 1
        exact = found["version"].partition("-")[2] == _version(call)[1]
        counted.other_arithmetic += not exact
        for problem in _differences(call, found, 0.0 if exact else TOLERANCE):
            yield f"{_name(call)}: {problem}"


def _name(call: Measurement) -> str:
    return f"data: the call {call.id} of {call.office}"


def _version(call: Measurement) -> tuple[str, str]:
    """The version of the model, and that of the arithmetic."""
    model, _, arithmetic = str(call.conditions.get("twin_version", "")).partition("-")
    return model, arithmetic


def _question(call: Measurement, criteria: Criteria) -> Question:
    stored = call.conditions.get("whatif", [])
    changes = [ChangeAnswer.from_json(one).change.to_json() for one in stored[:MOST_CHANGES]]
    return {
        "line": call.conditions["line"], "criteria": asdict(criteria),
        "client": asdict(REFERENCE), "changes": changes, "limited": False,
    }  # fmt: skip


def _stored_differences(call: Measurement) -> Iterator[str]:
    """What does not follow from the call's own values: its seed, its certainty, its best grade."""
    held = call.conditions
    try:
        seed = seed_of(LineModel.from_json(held["line"]))
    except (TypeError, KeyError, AttributeError, ValueError):
        yield "its `line` is none"
        return
    found = prediction_in(call.values)
    if found is None:
        yield "it has a line but no probabilities"
        return
    other = borderline_grade(call.values)
    expected: dict[str, object] = {
        "line_seed": seed,
        "certainty": "certain" if other is None else "borderline",
        "twin_grade": found.grade,
    }
    if "twin_version" in held:  # before it, neither of these was stored
        expected["borderline_grade"] = other
        ladder = held.get("ladder_grade")
        if not isinstance(ladder, int) or ladder not in range(GRADES):
            yield f"ladder_grade is {ladder!r}, which is no grade"
            return
        decision = decided(Held(ladder, GradeLimit.UNKNOWN, Direction.DOWN), LineModel(), found)
        expected["graded_by"] = decision.by.value
        if call.values.get("grade") != decision.grade:
            yield f"grade is {call.values.get('grade')!r}, but {decision.grade} follows"
    for name, value in expected.items():
        if held.get(name) != value:
            yield f"{name} is {held.get(name)!r}, but {value!r} follows"


def _differences(call: Measurement, found: Mapping[str, Any], most: float) -> Iterator[str]:
    for name, value in zip(PROBABILITIES, found["probabilities"], strict=True):
        if _differs(call.values[name], value, most):
            yield f"{name} is {call.values[name]}, but its line gives {value:.{DECIMALS}f}"
    stored = call.conditions.get("whatif", [])
    if len(stored) != len(found["whatif"]):
        yield "`whatif` has other changes than can be answered"
        return
    for held, again in zip(stored, found["whatif"], strict=True):
        pairs = zip(held["probabilities"], again["probabilities"], strict=True)
        if any(_differs(one, other, most) for one, other in pairs):
            shown = [round(share, DECIMALS) for share in again["probabilities"]]
            change = f"rate {held['rate']}, loss {held['loss']}"
            yield f"`whatif` with {change} is {held['probabilities']}, but its line gives {shown}"


def _differs(stored: float, derived: float, most: float) -> bool:
    """Whether they differ by more than `most`, as they are rounded."""
    return abs(stored - round(derived, DECIMALS)) > most + 0.1**DECIMALS / 10
