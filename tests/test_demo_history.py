"""A made-up past: stored as a hub stores it, and marked permanently on every paper."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.commands.demo_history import parse_weeks
from jharnet_monitor.config.load import load_config
from jharnet_monitor.demo import history
from jharnet_monitor.demo.places import district_data
from jharnet_monitor.demo.setup import Installation, install_history
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.period import week
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.store import Store
from tests.made_up_week import ZONE
from tests.pdf_text import pages_of, plain

NOW = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


def test_a_made_up_week_says_so_on_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain holds; each page of the report has the mark, each row of a table; the mark is in
    the measurements, too, so that it remains if the log's record is deleted, which breaks the
    chain.
    """
    monkeypatch.setattr(history, "LATENCY_EVERY", timedelta(hours=1))
    monkeypatch.setattr(history, "TOGETHER", timedelta(hours=12))
    place = Installation(tmp_path, tmp_path / "reports")
    data = district_data()
    data["offices"] = [one for one in data["offices"] if one["id"] in ("potka", "baharagora")]
    install_history(data, place)
    config = load_config(place.config)
    file = tmp_path / "monitor.db"
    assert history.fill(config, file, 1, NOW) > 100
    with pytest.raises(UserError, match="is there already"):
        history.fill(config, file, 1, NOW)
    store = Store(f"sqlite:///{file}", ManualClock(NOW))
    assert store.made_up()
    assert store.chain.verify() == []
    summary = summarise(store, config, week("2026-W47", ZONE), NOW)
    for one in make(drafts(summary, LANGUAGES), ["pdf"]):
        reported = plain(words(one.language)("made_up.told"))
        assert all(reported in page for page in pages_of(one.content)), one.name
    rows = drafts(summary, ["en"])[0].annexes[0].rows
    assert {row[-1] for row in rows} == {"yes"}
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("delete from events where kind = 'made_up'")
    robbed = Store(f"sqlite:///{file}", ManualClock(NOW))
    assert robbed.made_up()
    assert robbed.chain.verify() != []
    robbed.close()


@pytest.mark.parametrize("text", ["12", "0w", "53w", "w", "-1w", "1.5w"])
def test_the_length_of_a_past_is_weeks(text: str) -> None:
    """Anything else is one clear line."""
    with pytest.raises(UserError, match="such as 12w"):
        parse_weeks(text)
