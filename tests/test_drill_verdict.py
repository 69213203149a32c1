"""The verdict on a drill: whose line was the limit, who held it, and what the line carries."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.commands import drill as command
from jharnet_monitor.config import Config
from jharnet_monitor.hub.drills.results import summarise_drill
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillDirection,
    DrillOffice,
    DrillState,
    UplinkDirection,
    UplinkLoad,
)
from jharnet_monitor.model import Direction, Outcome, parse_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.report.sections.drill_texts import drill_row, supported_calls_texts
from jharnet_monitor.store import Store
from tests import made_up
from tests.made_up_week import MADE_AT, WEEK
from tests.support import OFFICES, make_config

STEPPED = DrillDirection(
    {"bits_per_second": 0.55e6, "capacity_bits_per_second": 0.65e6, "video_loss_ratio": 0.0}
)
FREE = DrillDirection({"bits_per_second": 1.5e6, "video_loss_ratio": 0.0})


def _drill(profile: Profile = Profile.P720, uplink: float = 2e6, **changed: Any) -> Drill:
    """A drill in which every office's call stepped down on the way towards it."""
    call = DrillOffice(
        "", joined=True, outcome=Outcome.OK, grade=2.0, limited_by="rate",
        worse_way=Direction.DOWN, down=STEPPED, up=FREE,
    )  # fmt: skip
    return Drill(
        "d", DrillState.DONE, profile, parse_utc("2026-11-25T06:00:00Z"),
        tuple(replace(call, office=office, **changed) for office in OFFICES), minutes=5.0,
        uplink=UplinkLoad(contracted=uplink),
    )  # fmt: skip


def _ended(drill: Drill, *alone: float | None) -> Drill:
    """`drill`, summed up with the rates that the offices' lines carried in their own tests."""
    rates = dict(zip(OFFICES, alone, strict=True))
    peaks = {Direction.DOWN: 1.95e6, Direction.UP: 4.5e6}
    return summarise_drill(drill, lambda office: (rates[office], rates[office]), peaks)


def _down(drill: Drill) -> UplinkDirection:
    """Headquarters' line towards the offices."""
    assert drill.uplink.down is not None
    return drill.uplink.down


def _limits(drill: Drill) -> list[str | None]:
    return [office.limited_by for office in drill.offices]


def _screen(drill: Drill, config: Config) -> str:
    screen = io.StringIO()
    Console(width=200, file=screen).print(command.view(drill, config))
    return screen.getvalue()


def _paper(drill: Drill, language: str) -> dict[str, Any]:
    return drill_content(drill, make_config(), SystemClock().now(), words(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_headquarters_line_is_not_laid_at_an_offices_door(language: str) -> None:
    """Three offices of 4 Mbit/s on an uplink of 2: the record, the signed page, the table of the
    weekly report and the screen all name headquarters' own line, and no office's.
    """
    drill = _ended(_drill(), 4e6, 4e6, 4e6)
    assert _down(drill).full and _down(drill).held_back == OFFICES
    assert _limits(drill) == ["uplink"] * 3
    phrase = words(language)
    reported = phrase("report.office.limited", what=phrase("limited_by.uplink"))
    paper = _paper(drill, language)
    assert [row["cause"] for row in paper["rows"]] == [reported] * 3
    assert drill_row(drill.offices[0], make_config(), phrase)["cause"] == reported
    assert phrase("limited_by.rate") not in str(paper)
    assert "limited by: headquarters' own line" in _screen(drill, make_config())


def test_an_office_limited_by_its_own_line_is_named() -> None:
    """Its line alone carries too little; where that was never tested, it is unknown; and a line
    that was not full held back nobody.
    """
    assert _limits(_ended(_drill(), 4e6, 4e6, 1e6)) == ["uplink", "uplink", "rate"]
    assert _limits(_ended(_drill(), 4e6, 4e6, None)) == ["uplink", "uplink", "unknown"]
    assert _limits(_ended(_drill(worse_way=Direction.UP), 4e6, 4e6, 4e6)) == ["rate"] * 3
    assert _limits(_ended(_drill(limited_by="loss"), 4e6, 4e6, 4e6)) == ["loss"] * 3
    wide = _ended(_drill(uplink=34e6), 4e6, 1e6, 1e6)
    assert not _down(wide).full
    assert _limits(wide) == ["rate"] * 3
    assert "held back" not in _screen(wide, make_config())


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_held_the_conference_is_judged_by_the_profile_everywhere(language: str) -> None:
    """A drill at 180p can show no more than a small picture: page and screen agree on its mark."""
    drill = _ended(_drill(Profile.P180, down=FREE, limited_by="none"), 4e6, 4e6, 4e6)
    sentences = _paper(drill, language)["sentences"]
    names = _names(language)
    assert words(language)("drill.able", names=names) in sentences
    assert words(language)("drill.short", names=names) not in sentences
    assert "3 of 3 offices held at least low video" in _screen(drill, make_config())
    short = _ended(_drill(Profile.P180, grade=1.0), 4e6, 4e6, 4e6)
    assert words(language)("drill.short", names=names) in _paper(short, language)["sentences"]


def _names(language: str) -> str:
    first, second, third = (
        o.name_hi if language == "hi" else o.name for o in make_config().offices
    )
    return f"{first}, {second}{words(language).phrases['list_and']}{third}"


@pytest.mark.parametrize(
    ("calls", "full", "reported"),
    [
        (0, True, "From the offices, headquarters' line cannot carry even one such call."),
        (1, True, "From the offices, headquarters' line can carry about 1 such call."),
        (7, True, "From the offices, headquarters' line can carry about 7 such calls at once."),
        (1, False, "From the offices, headquarters' line can carry at least 1 such call."),
        (0, False, None),
    ],
)
def test_the_supported_calls_are_stated_in_the_worst_case_too(
    calls: int, full: bool, reported: str | None
) -> None:
    """That none is supported is an answer; where a line that was not full carried none, nothing is
    known of it."""
    uplink = UplinkLoad(
        down=UplinkDirection(peak_rate=1.95e6, full=False, supported_calls=3),
        up=UplinkDirection(peak_rate=4.5e6, full=full, supported_calls=calls),
    )
    down = "Towards the offices, headquarters' line can carry at least 3 such calls at once."
    up = [reported] if reported else []
    assert list(supported_calls_texts(uplink, words("en"))) == [down, *up]
    assert len(list(supported_calls_texts(uplink, words("hi")))) == (2 if reported else 1)
    drill = _ended(_drill(), 4e6, 4e6, 4e6)
    text = _screen(replace(drill, uplink=uplink), make_config())
    if reported:
        carries = reported.removeprefix("From the offices, headquarters' line ")
        assert f"from all offices together: 4.50 Mbps; it {carries}" in text
    else:
        assert "from all offices together: 4.50 Mbps." in text


def test_a_drill_grades_no_office_in_the_weekly_report(tmp_path: Path) -> None:
    """Three drills came to a small picture, on its own the office held HD; so it did the week
    before."""
    store = Store(f"sqlite:///{tmp_path / 'drills.db'}", ManualClock(MADE_AT))
    store.migrate()
    for begin in (WEEK.before().start, WEEK.start):
        at = begin + timedelta(days=2, hours=11)
        calls = [made_up.conference("potka", at + timedelta(hours=n), 2) for n in range(3)]
        store.add(
            replace(call, conditions={**call.conditions, "path": "drill", "drill": f"d{n}"})
            for n, call in enumerate(calls)
        )
        store.add([made_up.conference("potka", at + timedelta(hours=4), 4)])
    summary = summarise(store, make_config(), WEEK, MADE_AT)
    store.close()
    office = summary.offices[0]
    assert (office.conference.grade, office.conference.tests) == (4, 1)
    assert office.before and (office.before.conference.grade, office.before.conference.tests) == (
        4, 1,
    )  # fmt: skip


@pytest.mark.parametrize("narrow", [False, True])
def test_the_command_shows_the_names_of_offices_as_they_are(
    narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Square brackets in a name are no markup, on a wide terminal and on a narrow one."""
    monkeypatch.setattr(command.console, "width", 80 if narrow else 160)
    config = make_config()
    named = config.offices[0].model_copy(update={"name": "Pot [/old] ka"})
    config = config.model_copy(update={"offices": (named, *config.offices[1:])})
    with command.console.capture() as shown:
        command.console.print(command.view(_drill(), config, narrow=narrow))
    assert "Pot [/old] ka" in shown.get()
