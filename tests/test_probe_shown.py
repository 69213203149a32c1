"""What `probe` and `run` print for people."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from jharnet_monitor.commands.result import render
from jharnet_monitor.model import AT_LEAST, QUANTITIES, Cause, Measurement, Outcome
from jharnet_monitor.probes.base import NoData, measurement_of
from tests.made_up import NOW, bandwidth, conference, latency


def shown(measurement: Measurement) -> str:
    """What stands on a screen of 100 columns."""
    screen = io.StringIO()
    Console(width=100, file=screen).print(render(measurement.to_json()))
    return screen.getvalue()


def test_figures_come_in_the_units_that_people_use() -> None:
    """ms, %, Mbit/s; no base unit and no power of ten is left."""
    text = shown(latency("potka", NOW)) + shown(bandwidth("potka", NOW, 3.921e6, 0.64e6))
    assert " ms" in text and " %" in text and "3.92 Mbps" in text and "640 kbps" in text
    for base in ("ratio", " seconds", "bits_per_second ", "e-0", "e+0"):
        assert base not in text


def test_every_quantity_can_be_shown() -> None:
    """Each unit of the table has its form, also where the value is 0 or large."""
    for entry in QUANTITIES:
        for value in (0.0, 1.0, 4.0):
            measurement = Measurement(
                "potka", entry.probe, NOW, 1.0, Outcome.OK, None, {}, {entry.name: value}, "m"
            )
            assert "_" not in shown(measurement)


def test_what_was_not_measured_says_why_instead_of_an_empty_table() -> None:
    """Its cause in words and what the probe said of it."""
    missing = NoData(Cause.NO_AGENT, "no session")
    text = shown(measurement_of("potka", "bandwidth", missing, NOW, 1.0))
    message = "bandwidth of potka: not measured: the office's agent was not connected"
    assert text.splitlines() == [message, "no session"]


def test_the_log_of_a_hub_begins_with_its_own_lines(tmp_path: Path) -> None:
    """Making the database's tables says nothing of the library that does it."""
    program = (
        "from jharnet_monitor.commands.process import set_up_logging\n"
        "from jharnet_monitor.clock import SystemClock\n"
        "from jharnet_monitor.store import Store\n"
        "import sys\n"
        "set_up_logging('info')\n"
        "Store(sys.argv[1], SystemClock()).migrate()\n"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/monitor.db"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "alembic" not in ended.stderr


def test_a_call_is_summarised_in_a_sentence_first() -> None:
    """What the line holds, and what would help; then the figures."""
    values = {"grade": 3.0, "setup_seconds": 0.4}
    conditions = {"limited_by": "rate", "worse_way": "up"}
    output = shown(
        Measurement("potka", "conference", NOW, 30.0, Outcome.OK, None, conditions, values)
    )
    first = output.splitlines()[0]
    assert first.startswith("The line holds SD video (360p) in both directions, but not HD.")
    assert "More speed on the way from the office" in output


def test_a_call_that_tried_less_says_that_it_does_not_count() -> None:
    """It is no sentence on what the line cannot hold."""
    tried = conference("potka", NOW, 2)
    output = shown(replace(tried, conditions={**tried.conditions, AT_LEAST: True}))
    assert output.startswith("The call held what it asked for, low-quality video (180p).")
    assert "The line holds only" not in output
