"""The record of a drill: the contract's form, and what earlier versions have stored."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.hub.drills import peak_rate
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.conference import drill as judge_drill
from jharnet_monitor.judge.conference import shared_line
from jharnet_monitor.judge.conference.drill import (
    Drill,
    DrillOffice,
    DrillPhase,
    DrillState,
    StartedBy,
    UplinkLoad,
    passed,
)
from jharnet_monitor.model import Outcome, parse_utc
from jharnet_monitor.probes.conference import gallery, plan
from jharnet_monitor.report.output.drill_sheet import drill_content
from jharnet_monitor.store import Store
from jharnet_monitor.store.rows import canonical
from jharnet_monitor.store.tables import drills as drills_table
from jharnet_monitor.store.tables import from_ms, to_ms
from tests.support import make_config

DIRECTION = {
    "audio_loss_ratio": 0.0, "audio_mos": 4.369463, "bits_per_second": 111561.468037,
    "capacity_bits_per_second": 120000.5, "frames_per_second": 29.856289, "freeze_ratio": 0.0,
    "height": 180.0, "video_loss_ratio": 0.0,
}  # fmt: skip
CALL = {
    "outcome": "ok", "cause": None, "limited_by": "none", "worse_way": "down",
    "measurement": "d1518a29004f42d28fd56d6da885f563", "down": DIRECTION, "up": DIRECTION,
}  # fmt: skip
STORED: dict[str, Any] = {
    "id": "20261125-212715-ee08", "state": "done", "profile": "180p", "minutes": 0.05,
    "started_at": "2026-11-25T21:27:15.879Z", "by": "hand", "pictures": 2, "absent": ["patamda"],
    "offices": [
        {"office": "potka", "joined": True, "grade": 2.0, **CALL,
         "gallery": CALL | {"pictures": 2}},
        {"office": "boram", "joined": True, "grade": None, **CALL, "outcome": "failed",
         "cause": "interrupted", "gallery": CALL | {"outcome": "no_data", "pictures": None}},
        {"office": "patamda", "joined": False, "outcome": "no_data", "cause": "no_agent",
         "grade": None, "limited_by": None, "worse_way": None, "up": {}, "down": {},
         "gallery": None, "measurement": "8bcd26c5de7644e39d7b83e89d0221f0"},
    ],
    "uplink": {
        "contracted_bits_per_second": 34e6, "wanted_bits_per_second": 110880.0,
        "down_bits_per_second": 223093.747102, "down_most_bits_per_second": 225328.330206379,
        "down_full": True, "down_calls": 2, "down_held_back": ["potka"],
        "down_gallery_bits_per_second": 1027847.900344,
        "up_bits_per_second": None, "up_most_bits_per_second": None, "up_full": None,
        "up_calls": None, "up_held_back": None, "up_gallery_bits_per_second": None,
    },
}  # fmt: skip
"""A drill as it stands in the database."""
RUNNING: dict[str, Any] = {
    "id": "20261125-212715-ee08", "state": "running", "phase": "conference", "profile": "180p",
    "started_at": "2026-11-25T21:27:15.879Z", "minutes": 5, "by": "schedule",
    "offices": [
        {"office": "potka", "joined": True, "outcome": None, "cause": None, "grade": None,
         "limited_by": None, "worse_way": None, "up": {}, "down": {}, "gallery": None,
         "live": {"seconds": 1.014, "down": {"height": 180, "bits_per_second": None},
                  "up": {"height": 180, "bits_per_second": 100597.048}, "rtt_seconds": None}},
    ],
    "uplink": {"contracted_bits_per_second": None},
}  # fmt: skip
"""A drill as the API answers it while it runs."""
FIRST_FORM: dict[str, Any] = {
    "id": "d1", "state": "done", "profile": "720p", "started_at": "2026-11-25T06:00:00Z",
    "offices": [
        {"office": "potka", "joined": True, "outcome": "ok", "cause": None, "grade": 3,
         "limited_by": "rate", "up": {"bits_per_second": 1e6}, "down": {},
         "gallery": {"outcome": "ok", "cause": None, "grade": 3.0, "up": {}, "down": {}}},
        {"office": "boram", "joined": False},
    ],
}  # fmt: skip
"""A record without any of the keys that came later."""


@pytest.mark.parametrize("module", [judge_drill, shared_line, gallery, plan, peak_rate])
def test_examples_in_docstrings_hold(module: Any) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("data", [STORED, RUNNING], ids=["stored", "running"])
def test_a_drill_is_written_as_it_was_read(data: dict[str, Any]) -> None:
    """Every key, null and number of the contract's form comes back, and no other."""
    drill = Drill.from_json(data)
    assert canonical(drill.to_json()) == canonical(data)
    assert Drill.from_json(json.loads(canonical(drill.to_json()))) == drill


def _stored(directory: Path, body: dict[str, Any]) -> Drill:
    """Read back from a database into which an earlier version has written."""
    store = Store(f"sqlite:///{directory}/monitor.db", ManualClock(from_ms(0)))
    store.migrate()
    started = to_ms(parse_utc(body["started_at"]))
    row = {"id": body["id"], "started_at": started, "body": canonical(body), "recorded_at": started}
    with store._engine.begin() as connection:
        connection.execute(insert(drills_table).values(row))
    found = store.event_log.drill(body["id"])
    assert found is not None and found == store.event_log.newest_drill()
    assert store.event_log.drills(from_ms(started), from_ms(started + 1)) == [found]
    store.close()
    return found


def test_a_stored_drill_is_read(tmp_path: Path) -> None:
    """A drill as the version before this record stored it, with each kind of result."""
    drill = _stored(tmp_path, STORED)
    assert (drill.state, drill.by, drill.phase) == (DrillState.DONE, StartedBy.HAND, None)
    potka, boram, patamda = drill.offices
    assert (potka.outcome, potka.grade, potka.down.height) == (Outcome.OK, 2, 180)
    assert potka.down.capacity_bits_per_second == 120000.5
    assert potka.gallery is not None and potka.gallery.pictures == drill.pictures == 2
    assert boram.cause == "interrupted" and boram.gallery is not None
    assert boram.gallery.pictures is None
    assert drill.absent == (patamda.office,) and drill.joined == (potka, boram)
    down, up = drill.uplink.down, drill.uplink.up
    assert down is not None and (down.full, down.held_back) == (True, ("potka",))
    assert up is not None and (up.rate, up.full, up.held_back) == (None,) * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_drill_without_the_later_keys_is_read(tmp_path: Path, language: str) -> None:
    """A missing value is unknown, and does not become a zero on the sheet."""
    drill = _stored(tmp_path, FIRST_FORM)
    potka, boram = drill.offices
    assert (potka.worse_way, potka.measurement, potka.down.bits_per_second) == (None,) * 3
    assert potka.gallery is not None and potka.gallery.pictures is None
    assert boram == DrillOffice("boram")
    assert (drill.minutes, drill.by, drill.pictures, drill.absent) == (None,) * 4
    assert drill.uplink == UplinkLoad()
    config: Config = make_config()
    sheet = drill_content(drill, config, drill.started_at, words(language))
    assert len(sheet["facts"]) == 2, "the profile and the id"


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"id": None}, "id must be a text"),
        ({"state": "paused"}, "'paused' is not a valid DrillState"),
        ({"phase": "pause"}, "'pause' is not a valid DrillPhase"),
        ({"started_at": "2026-11-25T06:00:00"}, "has no time zone"),
        ({"offices": [{"office": "potka"}]}, "joined"),
        ({"offices": None}, "not iterable"),
        ({"offices": [{"office": "p", "joined": True, "down": {"height": "x"}}]}, "height must be"),
        ({"offices": [{"office": "p", "joined": True, "grade": True}]}, "grade must be a number"),
        ({"uplink": {"down_bits_per_second": float("nan")}}, "down_bits_per_second must be"),
        ({"uplink": ["down"]}, "not a drill"),
    ],
)
def test_what_is_no_drill_is_refused(change: dict[str, Any], reported: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(ValueError, match=reported):
        Drill.from_json(STORED | change)


def test_a_record_is_not_changed_but_replaced() -> None:
    """Neither the record nor its parts change; the new record shares the unchanged parts."""
    drill = Drill.from_json(STORED)
    potka, _, patamda = drill.offices
    with pytest.raises(AttributeError):
        drill.phase = DrillPhase.GALLERY  # type: ignore[misc]
    with pytest.raises(TypeError):
        potka.down.values["height"] = 720  # type: ignore[index]
    changed = drill.with_office(DrillOffice("boram"))
    assert changed.offices == (potka, DrillOffice("boram"), patamda) != drill.offices
    with pytest.raises(KeyError):
        drill.office("nowhere")


def test_who_passed() -> None:
    """A call that held, with the required grade or a better one."""
    ok = DrillOffice("potka", joined=True, outcome=Outcome.OK, grade=3.0)
    assert passed(ok, 3) and passed(ok, 2) and not passed(ok, 4)
    assert not passed(DrillOffice("potka", outcome=Outcome.FAILED, grade=3.0), 3)
    assert not passed(DrillOffice("potka", outcome=Outcome.OK), 0)
