"""What becomes of a drill that is over: database, summary and papers fail, and the page says so."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from jharnet_monitor.commands.drill import view
from jharnet_monitor.errors import RefusedRecordError, StoreError
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.hub.drills import manager
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillOffice,
    DrillPhase,
    DrillState,
    LiveCall,
    LiveCallDirection,
)
from jharnet_monitor.model import Outcome, parse_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.web import reports
from jharnet_monitor.web.drill_pages import SHEETS_MINUTES, drill_view
from tests.support import make_config
from tests.test_drills import MINUTES, Bench
from tests.test_store_writer import Bench as DatabaseBench

BEGAN = parse_utc("2026-11-25T06:00:00Z")
SHEETS = ("drill-d.en.pdf", "drill-d.hi.pdf")


def troubles(
    drill: Drill, sheets: tuple[str, ...] = SHEETS, later: float = 60.0,
    language: str = "en",
) -> tuple[str, ...]:  # fmt: skip
    """The page's sentences on what is amiss, so many minutes after the drill began."""
    now = drill.started_at + timedelta(minutes=later)
    formats = Formats.of(language, "Asia/Kolkata", now)
    return drill_view(drill, make_config(), sheets, formats).troubles


async def test_a_drill_that_the_database_refuses_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was written every minute for ever, and the page said that it waits. Its papers are
    written, and page and command say to print."""
    monkeypatch.setattr(manager, "RETRY_SECONDS", 0.05)
    bench, tries, sheets = Bench(), list[Drill](), list[Drill]()

    async def refuse(drill: Drill) -> None:
        tries.append(drill)
        raise RefusedRecordError("the database refuses it: NUL in text")

    async def write(drill: Drill) -> None:
        sheets.append(drill)

    bench.drills._store, bench.drills._write_sheets = refuse, write
    drill = await bench.ended(bench.drills.start("audio", MINUTES))
    await bench.until(lambda: bool(sheets))
    await asyncio.sleep(0.3)
    drill = bench.now(drill)
    assert len(tries) == 1 and caplog.text.count("is not stored") == 1
    assert drill.refused and Drill.from_json(drill.to_json()).refused
    [english], [hindi] = troubles(drill), troubles(drill, language="hi")
    assert "for good" in english and "print this page" in english
    assert "NUL" not in hindi and "छाप लें" in hindi
    assert "before the hub is restarted" in _shown(drill, 200)
    await bench.drills.stop()


async def test_a_refused_drill_is_set_aside_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it differs from one that waits for a database that is away."""
    drill = Drill("d", DrillState.DONE, Profile.P720, BEGAN, ())
    tries: list[str] = []
    error: StoreError = StoreError("gone")

    def fail(refused: Drill) -> None:
        tries.append(refused.id)
        raise error

    kept = DatabaseBench(tmp_path, monkeypatch)
    hub: Any = SimpleNamespace(
        writer=kept.writer, store=kept.store, read=asyncio.to_thread,
        config=SimpleNamespace(waiting_file=tmp_path / "w.db"),
    )  # fmt: skip
    hub._is_written = lambda record: Hub._is_written(hub, record)
    monkeypatch.setattr(kept.store.event_log, "add_drill", fail)
    with pytest.raises(StoreError, match="it waits on the hub's disk") as waits:
        await Hub._store_drill(hub, replace(drill, id="e"))
    assert not isinstance(waits.value, RefusedRecordError)
    error = RefusedRecordError("NUL in text")
    await kept.writer.write_later()
    tries.clear()
    for _ in range(3):
        with pytest.raises(RefusedRecordError, match="set aside"):
            await Hub._store_drill(hub, drill)
    assert tries == ["d"]
    await kept.writer.close()
    kept.store.close()


async def test_sheets_that_cannot_be_written_are_tried_again_ever_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once they failed, there was a line in the log and nothing else, and the next drill need not
    wait for them."""
    monkeypatch.setattr(manager, "RETRY_SECONDS", 0.05)
    bench, tries, loop = Bench(), list[float](), asyncio.get_running_loop()

    async def write(_: Drill) -> None:
        tries.append(loop.time())
        if len(tries) < 4:
            raise OSError("no space left on device")

    bench.drills._write_sheets = write
    await bench.ended(bench.drills.start("audio", MINUTES))
    await bench.until(lambda: len(tries) == 4)
    waits = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert waits[0] >= 0.05 and waits[1] >= 0.1 and waits[2] >= 0.2
    assert caplog.text.count("could not be written") == 1, "each reason is logged once"
    await bench.drills.stop()


async def test_a_failed_summary_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The results of the offices are kept, and nothing is said of headquarters' line."""

    def fail(*_: Any) -> Drill:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(manager, "summarise_drill", fail)
    bench = Bench()
    drill = await bench.ended(bench.drills.start("audio", MINUTES))
    await bench.until(lambda: bool(bench.kept))
    assert bench.kept[0].unsummarised == "division by zero"
    assert Drill.from_json(drill.to_json()).unsummarised == "division by zero"
    for language, text in (("en", "could not be made"), ("hi", "सारांश नहीं बन सका")):
        shown = " ".join(troubles(bench.now(drill), language=language))
        assert text in shown and "zero" not in shown
    shown = _shown(bench.now(drill), 200)
    assert "division by zero" in shown and "Every office took part" not in shown
    await bench.drills.stop()


def test_missing_papers_are_shown_once_they_are_due() -> None:
    """With the command that writes them; also of a drill before the hub's restart."""
    drill = Drill("d", DrillState.DONE, Profile.P720, BEGAN, (), minutes=5.0)
    assert troubles(drill) == ()
    assert troubles(drill, (), later=SHEETS_MINUTES) == ()
    for language in LANGUAGES:
        [shown] = troubles(drill, (), language=language)
        assert "jharnet-monitor report drill d" in shown
    assert troubles(replace(drill, state=DrillState.RUNNING), ()) == ()
    [waits] = troubles(replace(drill, unstored="disk is gone"), (), language="hi")
    assert "disk" not in waits and "हर मिनट" in waits


def test_old_sheets_are_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many newer reports there are: the page would ask to write them again."""
    monkeypatch.setattr(reports, "MOST_LISTED", 1)
    names = ("drill-20250101-060000-ab.en.pdf", "drill-20250101-060000-ab.hi.pdf")
    for name in (*names, "weekly-2026-W47.hi.pdf"):
        (tmp_path / name).write_bytes(b"%PDF-1.7")
    for name in names:
        os.utime(tmp_path / name, (1e9, 1e9))
    assert [one.name for one in reports.listing(tmp_path)] == ["weekly-2026-W47.hi.pdf"]
    assert reports.sheets_of(tmp_path, "20250101-060000-ab") == names
    assert reports.sheets_of(tmp_path, "20250101-060000-a") == ()


def _shown(drill: Drill, width: int) -> str:
    screen = io.StringIO()
    Console(width=width, file=screen).print(view(drill, make_config(), narrow=width < 100))
    return screen.getvalue()


NAMES = ("boram", "dumaria", "patamda", "potka")
RESULTS: tuple[dict[str, Any], ...] = (
    {"outcome": Outcome.FAILED, "grade": 0.0, "cause": "signalling_failed"},
    {"outcome": Outcome.NO_DATA, "cause": "agent_lost"},
    {"outcome": Outcome.OK, "grade": 2.0, "limited_by": "policer"},
    {"outcome": Outcome.OK, "grade": 4.0, "limited_by": "none"},
)


def test_a_terminal_of_80_columns_shows_results_and_causes_whole() -> None:
    """Grades were cut to `0 no co…`, and outcomes were shown by their code. While it runs, a row
    is a line."""
    offices = tuple(
        DrillOffice(name, joined=True, **result)
        for name, result in zip(NAMES, RESULTS, strict=True)
    )
    over = Drill("20261125-060000-a1b2", DrillState.DONE, Profile.P720, BEGAN, offices)
    screen = _shown(over, 80)
    assert max(map(len, screen.splitlines())) <= 80 and "…" not in screen
    for text in ("0 no conference", "not measured", "2 low video", "4 HD", "lost during"):
        assert text in screen, text
    words = " ".join(screen.split())
    assert "contact with the office's agent was" in words and "drops what exceeds" in words
    call = LiveCall(3.0, LiveCallDirection(720, 1.5e6), LiveCallDirection(360, 0.47e6), 0.04)
    runs = replace(
        over, state=DrillState.RUNNING, phase=DrillPhase.GALLERY,
        offices=(*offices[:3], DrillOffice("potka", joined=True, live=call)),
    )  # fmt: skip
    screen = _shown(runs, 80)
    assert len(screen.splitlines()) == 5 + len(offices)
    assert "↓ 720p 1.50 Mbps  ↑ 360p 470 kbps" in screen and "0 no conference" in screen
