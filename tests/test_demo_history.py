"""A made-up past: stored as a hub stores it, and marked in the database for good."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.commands.demo_history import parse_weeks
from jharnet_monitor.demo import history
from jharnet_monitor.errors import UserError
from jharnet_monitor.store import Store
from tests.made_up_past import NOW, WEEKS, Past


def test_a_made_up_past_is_stored_as_a_hub_stores_it(past: Past) -> None:
    """Under a chain that holds; a database that is there already is left alone."""
    assert past.measurements > 200
    with pytest.raises(UserError, match="is there already"):
        history.fill(past.config, past.database, WEEKS, NOW)
    store = Store(f"sqlite:///{past.database}", ManualClock(NOW))
    assert store.made_up()
    assert store.chain.verify() == []
    store.close()


def test_the_mark_remains_without_its_record_in_the_log(past: Past, tmp_path: Path) -> None:
    """It is in the measurements, too, and deleting the log's record breaks the chain."""
    file = tmp_path / "robbed.db"
    shutil.copyfile(past.database, file)
    with sqlite3.connect(file) as connection:
        removed = connection.execute("delete from events where kind = 'made_up'")
        assert removed.rowcount == 1
    robbed = Store(f"sqlite:///{file}", ManualClock(NOW))
    assert robbed.made_up()
    assert robbed.chain.verify() != []
    robbed.close()


@pytest.mark.parametrize("text", ["12", "0w", "53w", "w", "-1w", "1.5w"])
def test_the_length_of_a_past_is_weeks(text: str) -> None:
    """Anything else is one clear line."""
    with pytest.raises(UserError, match="such as 12w"):
        parse_weeks(text)
