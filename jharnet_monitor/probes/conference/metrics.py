"""The metric families of the conference probe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.conference import plan
from jharnet_monitor.probes.families import (
    DistrictView,
    Family,
    OfficeFamily,
    OfficeView,
    Point,
    by_direction,
    of_quantity,
    values_by_direction,
)
from jharnet_monitor.profiles import HD_HEIGHT, RUNGS, Profile, best_grade


def _by_direction_and_media(name: str, help_: str) -> OfficeFamily:
    """The gauge of a quantity that exists for each direction, of sound and of picture."""

    def read(view: OfficeView) -> Iterator[Point]:
        newest = view.newest("conference")
        for media in ("audio", "video"):
            for labels, value in values_by_direction(newest, "conference", f"{media}_{name}"):
                yield (*labels, media), value

    return OfficeFamily(f"conference_{name}", "gauge", help_, read, ("direction", "media"))


def _ready(view: OfficeView) -> Iterable[Point]:
    """A call that held all of its profile says nothing of higher ones."""
    measurement = view.newest("conference")
    if measurement is not None and "grade" in measurement.values:
        grade = measurement.values["grade"]
        for profile in Profile:
            if grade >= profile.required_grade:
                yield (profile,), 1
            elif grade < _best_grade(measurement):
                yield (profile,), 0


def _best_grade(call: Measurement) -> int:
    """The best grade that a call of its profile can show."""
    best = {step.name: best_grade(step.height) for step in RUNGS}
    return best.get(str(call.conditions.get("profile")), best_grade(HD_HEIGHT))


def _probabilities(view: OfficeView) -> Iterable[Point]:
    measurement = view.newest("conference")
    if measurement is not None:
        for grade in range(5):
            value = measurement.values.get(f"grade_{grade}_probability")
            if value is not None:
                yield (str(grade),), value


def _needed(_: DistrictView) -> Iterable[Point]:
    return (((profile,), profile.rung.line_rate / 8) for profile in Profile)


def _planned(view: DistrictView) -> Iterable[Point]:
    """Zero where nothing is planned: then an office without a test is no cause for an alert."""
    yield (), sum(job.runs_a_day for job in plan.jobs(view.config))


FAMILIES = (
    of_quantity("conference", "grade"),
    OfficeFamily("conference_ready", "gauge",
                 "1 when a conference of the profile could be held both ways, else 0; absent where "
                 "the call tried less",
                 _ready, ("profile",)),
    OfficeFamily("conference_grade_probability", "gauge",
                 "How probable each grade is, by simulated calls over the measured line",
                 _probabilities, ("grade",)),
    _by_direction_and_media(
        "mos", "Mean opinion score: voice by ITU-T G.107, picture by G.1070 where it holds"),
    _by_direction_and_media("loss_ratio", "Share of media packets that never arrived"),
    by_direction("conference", "freeze_ratio", "Share of the call with the picture frozen"),
)  # fmt: skip
DISTRICT_FAMILIES = (
    Family("conference_needed_bytes_per_second", "gauge",
           "IP rate that one call of the profile takes each way", _needed, ("profile",)),
    Family("conference_planned_runs", "gauge",
           "Conference tests of an office that are planned in a day", _planned),
)  # fmt: skip
