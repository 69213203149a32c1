"""The drill: real calls with several offices at once over loopback, and what is stored of them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.drill import view
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub.drills import DrillManager
from jharnet_monitor.hub.drills.peak_rate import PeakRate
from jharnet_monitor.hub.drills.results import _carried_pictures, summarise_drill
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.drill import (
    BEING_STORED,
    Drill,
    DrillDirection,
    DrillGallery,
    DrillOffice,
    DrillState,
    LiveCall,
    StartedBy,
    UplinkDirection,
    UplinkLoad,
)
from jharnet_monitor.judge.conference.shared_line import Share, shared_line
from jharnet_monitor.live import Live
from jharnet_monitor.model import HEADQUARTERS, Direction, Measurement, Outcome, parse_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.web.drill_pages import drill_view
from tests.busy_host import repeats
from tests.call_support import LoopbackAgent
from tests.support import OFFICES, make_config

SECONDS = 3.0
MINUTES = SECONDS / 60


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the machine as fast enough, as drills are tested here and other tests run on it."""
    monkeypatch.setattr("jharnet_monitor.probes.conference.result.MAX_STALLED_SHARE", 1.0)
    monkeypatch.setattr("jharnet_monitor.probes.conference.result.MIN_SENT_SHARE", 0.0)


@dataclass
class Bench:
    """Drills over a real runner; `agents` says which offices have one."""

    config: Config = field(default_factory=make_config)
    agents: dict[str, LoopbackAgent] = field(default_factory=dict)
    recorded: list[Measurement] = field(default_factory=list)
    kept: list[Drill] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.current = CurrentConfig(self.config)
        self.runner = Runner(self.current, self.clock, self.agents.get, self.spent, self.record)
        self.drills = DrillManager(self.current, self.clock, self.runner, self.keep)

    def spent(self, office: str) -> int:
        """As the hub's recorder counts."""
        return sum(m.bytes_spent for m in self.recorded if m.office == office)

    async def record(self, measurement: Measurement) -> None:
        """Keep it in memory."""
        self.recorded.append(measurement)

    async def keep(self, drill: Drill) -> None:
        """Keep it in memory."""
        self.kept.append(drill)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for a moment of the drill."""
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.05)

    async def ended(self, drill: Drill) -> Drill:
        """The drill as it stands once it is over."""
        await self.until(lambda: not self.now(drill).running)
        return self.now(drill)

    def now(self, drill: Drill) -> Drill:
        """A drill that was started, as it stands."""
        found = self.drills.get(drill.id)
        assert found is not None
        return found

    def live(self, drill: Drill, office: str) -> LiveCall | None:
        """The running call of an office."""
        return self.now(drill).office(office).live


def _shown(drill: Drill, config: Config) -> str:
    screen = io.StringIO()
    Console(width=160, file=screen).print(view(drill, config))
    return screen.getvalue()


def _rate(live: LiveCall | None) -> float | None:
    """What arrives from an office."""
    return None if live is None else live.up.bits_per_second


def _drill(*offices: DrillOffice) -> Drill:
    """A drill at 720p that is over and not summed up yet."""
    return Drill(
        "d", DrillState.DONE, Profile.P720, parse_utc("2026-11-25T06:00:00Z"), offices,
        uplink=UplinkLoad(contracted=34e6),
    )  # fmt: skip


@repeats
async def test_a_conference_with_all_offices_and_then_a_gallery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two offices talk at once, the third is reported absent; every call is a measurement."""
    monkeypatch.setattr("jharnet_monitor.probes.conference.gallery.GALLERY_SECONDS", (2.0, 60.0))
    bench = Bench(agents={name: LoopbackAgent(office=name) for name in OFFICES[:2]})
    started = bench.drills.start("180p", MINUTES)
    assert (started.state, started.by) == (DrillState.RUNNING, StartedBy.HAND)
    with pytest.raises(UserError, match="running already"):
        bench.drills.start("180p", MINUTES)
    await bench.until(lambda: all(bench.live(started, name) for name in OFFICES[:2]))
    running = bench.now(started)
    await bench.until(lambda: _rate(bench.live(started, "boram")) is not None)
    boram = bench.live(started, "boram")
    assert boram is not None and boram.down.height == 180
    lines = [bench.runner._lines[end].reserved for end in (HEADQUARTERS, *OFFICES)]
    assert lines == [inf] * 4, "no visit or trace shares a line with it"
    text = _shown(bench.now(started), bench.config)
    assert "conference" in text and "talking" in text and "bps" in text
    drill = await bench.ended(started)
    assert drill.state is DrillState.DONE and bench.kept == [drill]
    assert drill.phase is None and not any(one.live for one in drill.offices)
    assert started.offices == tuple(DrillOffice(name) for name in OFFICES)
    assert running.running and running.office("boram").live, "what was read does not change"
    for name in OFFICES[:2]:
        one = drill.office(name)
        assert (one.joined, one.outcome, one.grade) == (True, Outcome.OK, 2)
        assert one.down.bits_per_second == pytest.approx(0.123e6, rel=0.3)
        assert one.gallery is not None and one.gallery.outcome is Outcome.OK
        assert one.gallery.pictures == drill.pictures == 2
        assert one.gallery.down.height == one.gallery.up.height == 360
    patamda = drill.office("patamda")
    assert (patamda.joined, patamda.cause) == (False, "no_agent")
    assert drill.absent == ("patamda",) and patamda.gallery is None
    for side in (drill.uplink.down, drill.uplink.up):
        assert side is not None and side.rate == pytest.approx(2 * 0.123e6, rel=0.3)
        assert (side.full, side.supported_calls) == (False, 2)
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
    assert {m.conditions["drill"] for m in bench.recorded} == {drill.id}
    assert all(bench.spent(name) > 50_000 for name in OFFICES[:2])
    text = _shown(drill, bench.config)
    assert "2 low video" in text and "2 of 2 pictures" in text
    assert "Did not take part: Patamda" in text and "2 of 3 offices held at least low video" in text
    assert "it can carry at least 2 such calls" in text
    assert bench.runner.uplink.reserved == 0


async def test_a_planned_drill_is_held_on_working_days_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the configuration says, and its record says that the schedule started it."""
    plan = {"at": ["16:00"], "profile": "audio", "minutes": 0.1}
    bench = Bench(config=make_config(probes={"drill": plan}))
    with caplog.at_level("INFO"):
        monkeypatch.setattr(
            "jharnet_monitor.hub.drills.manager.is_working_day", lambda hours, day: False
        )
        await bench.drills.hold_planned()
        assert not bench.drills._drills and "no working day" in caplog.text
        monkeypatch.setattr(
            "jharnet_monitor.hub.drills.manager.is_working_day", lambda hours, day: True
        )
        await bench.drills.hold_planned()
        [drill] = bench.drills._drills.values()
        assert (drill.by, drill.profile, drill.minutes) == (StartedBy.SCHEDULE, "audio", 0.1)
        await bench.drills.hold_planned()
        assert "the planned drill is not held: a drill is running" in caplog.text
    ended = await bench.ended(drill)
    assert ended.state is DrillState.DONE and ended.absent == OFFICES


async def test_a_drill_that_is_stopped_is_kept_as_far_as_it_went() -> None:
    """The hub ends in the middle: calls are hung up, the record says stopped."""
    bench = Bench(agents={"potka": LoopbackAgent()})
    started = bench.drills.start("audio", 1.0)
    await bench.until(lambda: bench.live(started, "potka") is not None)
    await bench.drills.stop()
    drill = bench.now(started)
    assert drill.state is DrillState.STOPPED and bench.kept == [drill]
    assert drill.offices[0].joined and drill.offices[0].outcome is None
    down = drill.uplink.down
    assert down is not None and down.rate is None, "no call was held to its end"
    assert bench.runner.uplink.reserved == 0
    _shown(drill, bench.config)


async def test_a_drill_whose_record_fails_ends_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database breaks when the first call is kept: the other calls end with it, before the
    line is given back, and those who follow the drill see that it is over.
    """
    monkeypatch.setattr("jharnet_monitor.probes.conference.gallery.GALLERY_SECONDS", (2.0, 60.0))
    bench = Bench(agents={"boram": LoopbackAgent(office="boram")})

    async def broken(measurement: Measurement) -> None:
        await bench.until(lambda: bench.live(started, "boram") is not None)
        raise OSError("no space left on device")

    bench.runner._record = broken
    started = bench.drills.start("audio", 1.0)
    drill = await bench.ended(started)
    assert drill.state is DrillState.STOPPED and "no space left on device" in caplog.text
    await bench.until(lambda: bool(bench.kept))
    boram = drill.office("boram")
    assert bench.kept == [drill] and drill.phase is None and boram.live is None
    assert boram.joined and bench.runner.uplink.reserved == 0
    assert bench.drills.start("audio", MINUTES), "the next one can be held"
    await bench.drills.stop()


async def test_a_drill_that_cannot_be_kept_is_over_all_the_same(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state on the screen does not depend on the database; command, API and page say that its
    result is not stored, until it is."""
    monkeypatch.setattr("jharnet_monitor.hub.drills.manager.RETRY_SECONDS", 0.1)
    bench, broken, sheets = Bench(), True, list[Drill]()

    async def keep(drill: Drill) -> None:
        if broken:
            raise OSError("disk is gone")
        bench.kept.append(drill)

    async def write(drill: Drill) -> None:
        sheets.append(drill)

    bench.drills._store, bench.drills._write_sheets = keep, write
    drill = await bench.ended(bench.drills.start("audio", MINUTES))
    assert drill.state is DrillState.DONE
    assert drill.unstored == "disk is gone"
    assert Drill.from_json(drill.to_json()).unstored == "disk is gone"
    assert "The result is not stored: disk is gone." in _shown(drill, bench.config)
    for language, text in (("en", "tries again every minute"), ("hi", "हर मिनट")):
        formats = Formats.of(language, "Asia/Kolkata", bench.clock.now())
        [shown] = drill_view(drill, bench.config, (), formats).troubles
        assert text in shown and "disk is gone" not in shown
        being_stored = replace(drill, unstored=BEING_STORED)
        assert drill_view(being_stored, bench.config, (), formats).troubles == ()
    await asyncio.sleep(0.5)
    assert caplog.text.count("is not stored") == 1, "each reason is logged once"
    assert not sheets
    broken = False
    await bench.until(lambda: bool(sheets))
    assert bench.now(drill).unstored is None
    assert bench.kept == sheets == [bench.now(drill)]
    await bench.drills.stop()


async def test_a_drill_over_the_budget_is_refused_before_it_starts() -> None:
    """The refusal states the cost with its gallery, what is left, and how long the drill may be: at
    that length it is accepted, and a tenth of a minute longer it is refused.
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


@repeats
async def test_an_office_whose_bytes_are_spent_is_not_called() -> None:
    """Its row gives the reason; the rest of the day's bytes is not exceeded."""
    bench = Bench(
        config=make_config(budget="2 MB"), agents={n: LoopbackAgent(office=n) for n in OFFICES}
    )
    bench.runner._spent_today = lambda office: 1_950_000 if office == "potka" else 0
    drill = await bench.ended(bench.drills.start("audio", MINUTES))
    causes = {one.office: one.cause for one in drill.offices}
    assert causes == {"potka": "budget_spent", "boram": None, "patamda": None}
    assert drill.absent == ("potka",)
    assert all(one.gallery is None for one in drill.offices), "audio has no pictures"


def test_what_a_shared_line_carried() -> None:
    """A call steps down because of its own line or because of the shared one; the two are
    distinguished."""
    wide = [Share(f"o{n}", 0.8e6, 1.0e6, 3.8e6) for n in range(8)]
    narrow = [Share(f"n{n}", 0.3e6, 0.4e6, 0.4e6) for n in range(3)]
    free = [Share(f"f{n}", 1.5e6, None, 3.8e6) for n in range(3)]
    together = shared_line([*wide, *narrow], 9.2e6, 1.5e6, 34e6)
    assert together.full and together.held_back == tuple(f"o{n}" for n in range(8))
    assert together.peak_rate == pytest.approx(9.2e6) and together.supported_calls == 6
    own = shared_line([*narrow, *free], 5.7e6, 1.5e6, 34e6)
    assert (own.full, own.held_back, own.supported_calls) == (False, (), 3)
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
    """All nine where the call held; those that came through where it had to step down."""
    call = DrillGallery(outcome=Outcome(outcome), down=DrillDirection(down))
    assert _carried_pictures(call, 9) == pictures


def test_headquarters_line_is_judged_by_the_offices_own_tests() -> None:
    """Offices whose last speed test alone was wide enough, and that stepped down together."""
    down = DrillDirection({"bits_per_second": 0.6e6, "capacity_bits_per_second": 0.9e6})
    up = DrillDirection({"bits_per_second": 1.5e6})
    held = [
        DrillOffice(f"o{n}", joined=True, outcome=Outcome.OK, down=down, up=up) for n in range(3)
    ]
    absent = DrillOffice("o3", outcome=Outcome.NO_DATA, down=down, up=up)
    broken = DrillOffice("o4", joined=True, outcome=Outcome.FAILED, cause="interrupted")
    drill = summarise_drill(
        _drill(*held, absent, broken),
        lambda office: (4e6, 4e6),
        {Direction.DOWN: 2.7e6, Direction.UP: 4.5e6},
    )
    assert drill.absent == ("o3",)
    assert drill.uplink.down == UplinkDirection(
        rate=1.8e6, peak_rate=2.7e6, full=True, supported_calls=1,
        held_back=("o0", "o1", "o2"),
    )  # fmt: skip
    assert drill.uplink.up is not None
    assert (drill.uplink.up.full, drill.uplink.up.supported_calls) == (False, 3)


def test_a_drill_that_nobody_joined_says_nothing_of_the_line() -> None:
    """An unknown value is never 0: in the record, on the screen, and on the page that is signed."""
    config = make_config()
    offices = tuple(office.id for office in config.offices)
    empty = _drill(*(DrillOffice(name) for name in offices))
    drill = summarise_drill(empty, lambda office: (4e6, 4e6), PeakRate().peaks())
    reported = drill.to_json()["uplink"]
    del reported["contracted_bits_per_second"], reported["wanted_bits_per_second"]
    assert len(reported) == 12 and set(reported.values()) == {None}
    text = _shown(drill, config)
    assert "to all offices together: not known" in text and "0.0 Mbit/s" not in text
    paper = drill_content(drill, config, SystemClock().now(), words("en"))
    assert "bit/s" not in str(paper["facts"]) and drill.absent == offices


@repeats
async def test_a_hub_with_few_cores_calls_one_office_after_another() -> None:
    """With `at_once: 1` no two calls overlap, every office gets its grade, and nothing is claimed
    of headquarters' line, which no more than one call has used; nor that no call was held."""
    config = make_config(probes={"drill": {"at_once": 1}})
    bench = Bench(config, {office: LoopbackAgent() for office in OFFICES})
    most = 0
    drill = bench.drills.start("audio", MINUTES)
    while bench.now(drill).running:
        most = max(most, sum(one.live is not None for one in bench.now(drill).offices))
        await asyncio.sleep(0.05)
    ended = bench.now(drill)
    assert (most, ended.at_once, ended.rounds) == (1, 1, len(OFFICES))
    assert [one.grade for one in ended.offices] == [1.0] * len(OFFICES)
    for side in (ended.uplink.down, ended.uplink.up):
        assert side is not None and side.peak_rate
        assert (side.rate, side.full, side.supported_calls) == (None, None, None)
    assert Drill.from_json(ended.to_json()).at_once == 1
    shown = _shown(ended, config)
    assert "headquarters' line was not tested" in shown and "no call was held" not in shown
    for language in ("en", "hi"):
        formats = Formats.of(language, "Asia/Kolkata", bench.clock.now())
        page = drill_view(ended, config, (), formats)
        assert str(len(OFFICES)) in page.sentences[-1] and page.method
