"""The drill: real calls with several offices at once over loopback, and what is kept of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.drill import view
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub.drills import Drills
from jharnet_monitor.hub.drills.record import _carried, new_row, summed_up
from jharnet_monitor.hub.drills.together import Together
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.shared_line import Share, shared_line
from jharnet_monitor.live import Live
from jharnet_monitor.model import Direction, Measurement
from jharnet_monitor.report.output.drill_sheet import drill_content
from tests.call_support import LoopbackAgent
from tests.support import OFFICES, make_config

SECONDS = 3.0
MINUTES = SECONDS / 60


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which other tests run is held to be fast enough: drills are tested here."""
    monkeypatch.setattr("jharnet_monitor.probes.conference.result.MAX_STALLED_SHARE", 1.0)
    monkeypatch.setattr("jharnet_monitor.probes.conference.result.MIN_SENT_SHARE", 0.0)


@dataclass
class Bench:
    """Drills over a real runner; `agents` says which offices have one."""

    config: Config = field(default_factory=make_config)
    agents: dict[str, LoopbackAgent] = field(default_factory=dict)
    recorded: list[Measurement] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.runner = Runner(
            CurrentConfig(self.config), self.clock, self.agents.get, self.spent, self.record
        )
        self.drills = Drills(lambda: self.config, self.clock, self.runner, self.keep)

    def spent(self, office: str) -> int:
        """As the hub's recorder counts."""
        return sum(m.bytes_spent for m in self.recorded if m.office == office)

    async def record(self, measurement: Measurement) -> None:
        """Keep it in memory."""
        self.recorded.append(measurement)

    async def keep(self, drill: dict[str, Any]) -> None:
        """Keep it in memory."""
        self.kept.append(drill)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a moment of the drill."""
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.05)


def _shown(drill: dict[str, Any], config: Config) -> str:
    screen = io.StringIO()
    Console(width=160, file=screen).print(view(drill, config))
    return screen.getvalue()


async def test_a_conference_with_all_offices_and_then_a_gallery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two offices talk at once, the third is told absent; every call is a measurement."""
    monkeypatch.setattr("jharnet_monitor.hub.drills.hold.GALLERY_SECONDS", (2.0, 60.0))
    bench = Bench(agents={name: LoopbackAgent(office=name) for name in OFFICES[:2]})
    drill = bench.drills.start("180p", MINUTES)
    assert (drill["state"], drill["by"]) == ("running", "hand")
    with pytest.raises(UserError, match="running already"):
        bench.drills.start("180p", MINUTES)
    rows = {row["office"]: row for row in drill["offices"]}
    await bench.until(lambda: all("live" in rows[name] for name in OFFICES[:2]))
    await bench.until(lambda: rows["boram"]["live"]["up"]["bits_per_second"] is not None)
    assert rows["boram"]["live"]["down"]["height"] == 180
    text = _shown(drill, bench.config)
    assert "conference" in text and "talking" in text and "bit/s" in text
    await bench.until(lambda: drill["state"] != "running")
    assert drill["state"] == "done" and bench.kept == [drill]
    assert "phase" not in drill and not any("live" in row for row in drill["offices"])
    for name in OFFICES[:2]:
        row = rows[name]
        assert (row["joined"], row["outcome"], row["grade"]) == (True, "ok", 2)
        assert row["down"]["bits_per_second"] == pytest.approx(0.123e6, rel=0.3)
        assert row["gallery"]["outcome"] == "ok" and "grade" not in row["gallery"]
        assert row["gallery"]["pictures"] == drill["pictures"] == 2
        assert row["gallery"]["down"]["height"] == row["gallery"]["up"]["height"] == 360
    assert (rows["patamda"]["joined"], rows["patamda"]["cause"]) == (False, "no_agent")
    assert drill["absent"] == ["patamda"] and rows["patamda"]["gallery"] is None
    uplink = drill["uplink"]
    for way in ("down", "up"):
        assert uplink[f"{way}_bits_per_second"] == pytest.approx(2 * 0.123e6, rel=0.3)
        assert (uplink[f"{way}_full"], uplink[f"{way}_calls"]) == (False, 2)
    paths = sorted((m.office, m.route, m.outcome.value) for m in bench.recorded)
    assert paths == [
        ("boram", "drill", "ok"), ("boram", "gallery", "ok"), ("patamda", "drill", "no_data"),
        ("potka", "drill", "ok"), ("potka", "gallery", "ok"),
    ]  # fmt: skip
    live = Live(CurrentConfig(bench.config))
    for measurement in bench.recorded:
        live.update(measurement)
    assert not any("conference" in live.offices[name].latest for name in OFFICES), (
        "what all offices had together is no office's own grade, on no page and in no metric"
    )
    assert {m.conditions["drill"] for m in bench.recorded} == {drill["id"]}
    assert all(bench.spent(name) > 50_000 for name in OFFICES[:2])
    text = _shown(drill, bench.config)
    assert "2 low video" in text and "2 of 2 pictures" in text
    assert "Did not take part: Patamda" in text and "2 of 3 offices held at least low video" in text
    assert "it bears at least 2 such calls" in text
    assert bench.runner.uplink.reserved == 0


async def test_a_planned_drill_is_held_on_working_days_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the configuration says, and its record tells that the schedule began it."""
    plan = {"at": ["16:00"], "profile": "audio", "minutes": 0.1}
    bench = Bench(config=make_config(probes={"drill": plan}))
    with caplog.at_level("INFO"):
        monkeypatch.setattr(
            "jharnet_monitor.hub.drills.hold.is_working_day", lambda hours, day: False
        )
        await bench.drills.hold_planned()
        assert not bench.drills._drills and "no working day" in caplog.text
        monkeypatch.setattr(
            "jharnet_monitor.hub.drills.hold.is_working_day", lambda hours, day: True
        )
        await bench.drills.hold_planned()
        [drill] = bench.drills._drills.values()
        assert (drill["by"], drill["profile"], drill["minutes"]) == ("schedule", "audio", 0.1)
        await bench.drills.hold_planned()
        assert "the planned drill is not held: a drill is running" in caplog.text
    await bench.until(lambda: drill["state"] == "done")
    assert len(drill["absent"]) == 3


async def test_a_drill_that_is_stopped_is_kept_as_far_as_it_went() -> None:
    """The hub ends in the middle: calls are hung up, the record says stopped."""
    bench = Bench(agents={"potka": LoopbackAgent()})
    drill = bench.drills.start("audio", 1.0)
    await bench.until(lambda: "live" in drill["offices"][0])
    await bench.drills.stop()
    assert drill["state"] == "stopped" and bench.kept == [drill]
    assert drill["offices"][0]["joined"] and not drill["offices"][0]["outcome"]
    assert drill["uplink"]["down_bits_per_second"] is None, "no call was held to its end"
    assert bench.runner.uplink.reserved == 0
    _shown(drill, bench.config)


async def test_a_drill_whose_record_fails_ends_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database breaks when the first call is kept: the other calls end with it, before the
    line is given back, and whoever follows the drill sees that it is over.
    """
    monkeypatch.setattr("jharnet_monitor.hub.drills.hold.GALLERY_SECONDS", (2.0, 60.0))
    bench = Bench(agents={"boram": LoopbackAgent(office="boram")})

    async def broken(measurement: Measurement) -> None:
        await bench.until(lambda: "live" in rows["boram"])
        raise OSError("no space left on device")

    bench.runner._record = broken
    drill = bench.drills.start("audio", 1.0)
    rows = {row["office"]: row for row in drill["offices"]}
    await bench.until(lambda: drill["state"] != "running")
    assert drill["state"] == "stopped" and "no space left on device" in caplog.text
    await bench.until(lambda: bool(bench.kept))
    assert bench.kept == [drill] and "phase" not in drill and "live" not in rows["boram"]
    assert rows["boram"]["joined"] and bench.runner.uplink.reserved == 0
    assert bench.drills.start("audio", MINUTES), "the next one can be held"
    await bench.drills.stop()


async def test_a_drill_that_cannot_be_kept_is_over_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its state on the screen does not hang on the database."""
    bench = Bench()

    async def broken(drill: dict[str, Any]) -> None:
        raise OSError("disk is gone")

    bench.drills._keep = broken
    drill = bench.drills.start("audio", MINUTES)
    await bench.until(lambda: drill["state"] == "done" and "disk is gone" in caplog.text)
    _shown(drill, bench.config)


async def test_a_drill_over_the_budget_is_refused_before_it_starts() -> None:
    """It says what it costs with its gallery, what there is, and how long it may be: so long it is
    not refused, and a tenth of a minute longer it is.
    """
    bench = Bench()
    with pytest.raises(UserError, match=r"362 MB.*300 MB.*at most 12\.3 minutes"):
        bench.drills.start("720p", 15)
    with pytest.raises(UserError, match=r"at most 12\.3 minutes"):
        bench.drills.start("720p", 12.4)
    bench.drills.start("720p", 12.3)
    await bench.drills.stop()
    small = Bench(config=make_config(budget="2 MB"))
    with pytest.raises(UserError, match="2 MB a day: not even the shortest drill fits"):
        small.drills.start("720p", 1)
    small.drills.start("audio", 1)  # has no gallery
    await small.drills.stop()
    with pytest.raises(UserError, match="no profile `8k`"):
        bench.drills.start("8k", 1)
    assert bench.drills.get("none") is None


async def test_an_office_whose_bytes_are_spent_is_not_called() -> None:
    """Its row says why; what is left of the day's bytes is not passed."""
    bench = Bench(
        config=make_config(budget="2 MB"), agents={n: LoopbackAgent(office=n) for n in OFFICES}
    )
    bench.runner._spent_today = lambda office: 1_950_000 if office == "potka" else 0
    drill = bench.drills.start("audio", MINUTES)
    await bench.until(lambda: drill["state"] == "done")
    causes = {row["office"]: row["cause"] for row in drill["offices"]}
    assert causes == {"potka": "budget_spent", "boram": None, "patamda": None}
    assert drill["absent"] == ["potka"]
    assert all(row["gallery"] is None for row in drill["offices"]), "audio has no pictures"


def test_what_a_shared_line_bore() -> None:
    """A call steps down for its own line's sake or for the shared one's; both are told apart."""
    wide = [Share(f"o{n}", 0.8e6, 1.0e6, 3.8e6) for n in range(8)]
    narrow = [Share(f"n{n}", 0.3e6, 0.4e6, 0.4e6) for n in range(3)]
    free = [Share(f"f{n}", 1.5e6, None, 3.8e6) for n in range(3)]
    together = shared_line([*wide, *narrow], 9.2e6, 1.5e6, 34e6)
    assert together.full and len(together.held_back) == 8
    assert together.bore == pytest.approx(9.2e6) and together.pictures == 6
    own = shared_line([*narrow, *free], 5.7e6, 1.5e6, 34e6)
    assert (own.full, own.held_back, own.pictures) == (False, (), 3)
    unknown = shared_line([Share("u", 0.8e6, 1.0e6, None)] * 11, 9.5e6, 1.5e6, 10e6)
    assert unknown.full, "the contract is reached, whatever the offices' own lines carry"
    assert not shared_line([], 0.0, 1.5e6, None).full


@pytest.mark.parametrize(
    ("down", "outcome", "pictures"),
    [({}, "ok", 9), ({"capacity_bits_per_second": 0.4e6}, "ok", 2), ({}, "failed", None)],
)
def test_how_many_small_pictures_a_line_carried(
    down: dict[str, float], outcome: str, pictures: int | None
) -> None:
    """All nine where the call held; what came through where it had to step down."""
    assert _carried({"outcome": outcome, "down": down}, 9) == pictures


def test_headquarters_line_is_judged_by_the_offices_own_tests() -> None:
    """Offices whose last speed test alone was wide enough, and that stepped down together."""
    rows = [new_row(f"o{n}") | {"joined": n < 3} for n in range(4)]
    broken = new_row("o4") | {"joined": True, "outcome": "failed", "cause": "interrupted"}
    for row in rows:
        row["down"] = {"bits_per_second": 0.6e6, "capacity_bits_per_second": 0.9e6}
        row["up"] = {"bits_per_second": 1.5e6}
        row["outcome"] = "ok" if row["joined"] else "no_data"
    drill: dict[str, Any] = {
        "profile": "720p", "offices": [*rows, broken],
        "uplink": {"contracted_bits_per_second": 34e6},
    }  # fmt: skip
    summed_up(drill, lambda office: (4e6, 4e6), {Direction.DOWN: 2.7e6, Direction.UP: 4.5e6})
    uplink = drill["uplink"]
    assert drill["absent"] == ["o3"]
    assert (uplink["down_full"], uplink["down_calls"]) == (True, 1)
    assert uplink["down_held_back"] == ["o0", "o1", "o2"]
    assert uplink["down_most_bits_per_second"] == pytest.approx(2.7e6)
    assert (uplink["up_full"], uplink["up_calls"]) == (False, 3)


def test_a_drill_that_nobody_joined_says_nothing_of_the_line() -> None:
    """Unknown is never 0: in the record, on the screen, and on the page that is signed."""
    config = make_config()
    offices = [office.id for office in config.offices]
    drill: dict[str, Any] = {
        "id": "d", "state": "done", "profile": "720p", "started_at": "2026-11-25T06:00:00.000Z",
        "offices": [new_row(name) for name in offices],
        "uplink": {"contracted_bits_per_second": 34e6},
    }  # fmt: skip
    summed_up(drill, lambda office: (4e6, 4e6), Together().most())
    told = dict(drill["uplink"])
    del told["contracted_bits_per_second"], told["wanted_bits_per_second"]
    assert len(told) == 12 and set(told.values()) == {None}
    text = _shown(drill, config)
    assert "to all offices together: not known" in text and "0.0 Mbit/s" not in text
    paper = drill_content(drill, config, SystemClock().now(), words("en"))
    assert "bit/s" not in str(paper["facts"]) and drill["absent"] == offices
