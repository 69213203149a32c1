"""What a drill says in words: for its report, its sheet and its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.conference.drill import (
    LIMITED_BY_UPLINK,
    Drill,
    DrillDirection,
    DrillOffice,
    UplinkLoad,
    passed,
    required_grade,
    supported_calls,
)
from jharnet_monitor.model import Direction


def drill_row(office: DrillOffice, config: Config, words: Words) -> dict[str, Any]:
    """One office in a drill: its grade, and what limited it or why there is none."""
    grade = None if office.grade is None else int(office.grade)
    return {
        "office": name_of(office.office, config, words),
        "grade": grade,
        "answer": formats.with_borderline(
            words(f"grade.{'none' if grade is None else grade}"), office.borderline, words
        ),
        "joined": office.joined,
        "down": _direction(office.down, words),
        "up": _direction(office.up, words),
        "cause": cause_of(office, words),
    }


def _direction(side: DrillDirection, words: Words) -> list[str]:
    """What arrived in one direction: the rate, and the loss of its picture."""
    if side.bits_per_second is None:
        return [words("not_measured")]
    rate = formats.rate(side.bits_per_second)
    if side.video_loss_ratio is None:
        return [rate]
    return [rate, words("drill.loss", loss=formats.share(side.video_loss_ratio))]


def profile_name(drill: Drill, words: Words) -> str:
    """The drill's profile in words."""
    return words.get(f"profile.{drill.profile}", drill.profile)


def uplink_rates(drill: Drill, words: Words) -> list[list[str]]:
    """Label and rates of what headquarters' own line carried; empty where that is not known."""
    down, up = drill.uplink.down, drill.uplink.up
    if down is None or down.rate is None:
        return []
    rates = formats.both_rates(down.rate, None if up is None else up.rate)
    return [[words("drill.uplink"), rates]]


def supported_calls_texts(uplink: UplinkLoad, words: Words) -> Iterator[str]:
    """How many calls headquarters' own line supports, a sentence for each direction in which that
    is known.
    """
    for direction in Direction:
        found = supported_calls(uplink.direction(direction))
        if found is not None:
            calls = words(f"drill.calls.{found.bound}", n=found.calls)
            yield words(f"drill.bears.{direction}", calls=calls)


def name_of(office: str, config: Config, words: Words) -> str:
    """The office's name; of one that is no longer configured its id."""
    for one in config.offices:
        if one.id == office:
            return formats.office_name(one, words)
    return office


def cause_of(office: DrillOffice, words: Words) -> str:
    """Why a call failed or was not made, else what limited it; empty where nothing did."""
    cause, limit = office.cause, office.limited_by
    if cause is not None:
        return words.get(f"cause.{cause}", cause)
    if limit is None or limit == "none":
        return ""
    return words("report.office.limited", what=words.get(f"limited_by.{limit}", limit))


def drill_facts(drill: Drill, words: Words) -> list[list[str]]:
    """Label and value: profile, length, headquarters' line, the drill's id."""
    facts = [[words("drill.profile"), profile_name(drill, words)]]
    if drill.minutes is not None:
        label = by_its_order("length", drill, words)
        facts.append([label, formats.duration(60 * drill.minutes, words)])
    facts += uplink_rates(drill, words)
    facts.append([words("drill.id"), drill.id])
    return facts


def drill_sentences(drill: Drill, config: Config, words: Words) -> list[str]:
    """Who took part and who did not; who passed and who did not; and headquarters' line."""
    required = required_grade(drill.profile, config.thresholds.grade)
    offices = drill.offices
    groups = {
        "absent": [one for one in offices if not one.joined],
        "able": [one for one in offices if passed(one, required)],
        "short": [
            one
            for one in offices
            if one.joined and one.grade is not None and not passed(one, required)
        ],
        "without_result": [
            one for one in offices if one.joined and one.outcome is not None and one.grade is None
        ],
        "held_back": [one for one in offices if one.limited_by == LIMITED_BY_UPLINK],
    }
    return [
        words("report.drill.joined", joined=len(drill.joined), total=len(offices)),
        *(
            words(f"drill.{group}", names=_names(members, config, words))
            for group, members in groups.items()
            if members
        ),
        *supported_calls_texts(drill.uplink, words),
        *few_at_once(drill, words),
    ]


def few_at_once(drill: Drill, words: Words) -> list[str]:
    """That the offices were called in turn, where that is so."""
    if drill.at_once is None:
        return []
    return [words("drill.at_once", n=drill.at_once, total=len(drill.offices))]


def by_its_order(name: str, drill: Drill, words: Words) -> str:
    """The text `drill.NAME` of a drill whose offices were called at once, or that of one in turn;
    such are `title`, `subtitle`, `length` and `method`.
    """
    return words(f"drill.{name}" if drill.at_once is None else f"drill.{name}_in_turn")


def _names(offices: Sequence[DrillOffice], config: Config, words: Words) -> str:
    return formats.list_of([name_of(one.office, config, words) for one in offices], words)
