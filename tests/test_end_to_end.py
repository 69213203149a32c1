"""The main job over the lab: hub and agents as processes, real links, page, metrics and report.

One small district for the whole file: a good office, a lossy one, and one whose agent never came.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pypdf import PdfReader
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.demo.flow import Demo, running, too_busy, week_measured
from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab.layout import HEADQUARTERS
from jharnet_monitor.store import Store
from jharnet_monitor.wire.client import HubClient
from tests.busy_host import line_was_late, repeated
from tests.conftest import find_program
from tests.no_schedule import demo_without_schedule
from tests.programs_support import kill_hub

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def _line(delay: str, rate: str, **more: Any) -> dict[str, Any]:
    way = {"delay": delay, "rate": rate, "queue": "200ms", **more}
    return {"down": way, "up": way}


def _office(name: str, hindi: str, truth: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": name.lower(),
        "name": name,
        "name_hi": hindi,
        "subdivision": "Dhalbhum",
        "contracted": "4 Mbit/s",
        "kind": "leased-line",
        "truth": truth,
        **more,
    }


DISTRICT = {
    "uplink": {"contracted": "34 Mbit/s", "truth": _line("1ms", "34 Mbit/s")},
    "offices": [
        _office("Potka", "पोटका", _line("12ms", "4 Mbit/s")),
        _office("Dumaria", "डुमरिया", _line("20ms", "4 Mbit/s", loss={"mean": "3%", "burst": 3})),
        _office("Chakulia", "चाकुलिया", _line("15ms", "4 Mbit/s"), absent=True),
    ],
}


@pytest.fixture(scope="module")
def district(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The district at work, measured once by every probe."""
    reports = tmp_path_factory.mktemp("reports")
    place, console = LabPlace(DISTRICT, "jhe2e"), Console(quiet=True)
    with demo_without_schedule(), running(place, DISTRICT, reports, console) as (one, _):
        one.wait_for_agents()
        repeated(partial(_measured, one), lambda late: late and not _right(one))
        yield one


def _measured(one: Demo) -> bool:
    """Measure and compare; returns whether the emulator, which is the lines, stood still, or this
    machine was too busy for a figure in spite of the demo's own repetitions.
    """
    assert one.place.lab is not None
    one.place.lab.reset()
    one.results.clear()
    one.rows.clear()
    one.measure()
    one.compare()
    return line_was_late(one.place.lab) or any(too_busy(result) for result in one.results)


def _right(one: Demo) -> bool:
    """Whether all figures are those of the lab, and a line that holds a call has its grade."""
    grade = _of(one, "potka", "conference")["values"].get("grade")
    return all(row.ok for row in one.rows) and grade == 4


def _get(one: Demo, path: str) -> str:
    with urllib.request.urlopen(one.hub.base + path) as answer:  # noqa: S310 - loopback
        return str(answer.read().decode())


def _until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return now


def _command(one: Demo, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command as a person gives it, on the hub's machine."""
    assert one.place.lab is not None
    command = [
        sys.executable,
        "-m",
        "jharnet_monitor",
        *argv,
        "--config",
        str(one.installation.config),
    ]
    with one.place.popen(
        HEADQUARTERS, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _of(one: Demo, office: str, probe: str, path: str | None = None) -> dict[str, Any]:
    [found] = [
        m
        for m in one.results
        if (m["office"], m["probe"]) == (office, probe)
        and (probe != "bandwidth" or m["conditions"].get("path") == (path or "jharnet"))
    ]
    return found


def test_figures_agree_with_the_emulator(district: Demo) -> None:
    """RTT, lost packets, both rates and the call's loss are what the lab's counters say."""
    wrong = [row.to_json() for row in district.rows if not row.ok]
    assert wrong == []
    kinds = {(row.office, row.probe) for row in district.rows}
    for office in ("potka", "dumaria"):
        assert {(office, p) for p in ("latency", "bandwidth", "conference")} <= kinds


def test_without_an_agent_there_is_no_figure_and_no_zero(district: Demo) -> None:
    """A probe that needs an agent gives `no_data` with its cause; latency is measured anyway."""
    for probe in ("bandwidth", "conference"):
        measured = _of(district, "chakulia", probe)
        assert (measured["outcome"], measured["cause"]) == ("no_data", "no_agent")
        assert measured["values"] == {}
    assert _of(district, "chakulia", "latency")["values"]["received"] > 0


def test_a_conference_is_graded_on_what_arrived(district: Demo) -> None:
    """4 Mbit/s holds an HD call; grade and figures of both ways are there."""
    values = _of(district, "potka", "conference")["values"]
    assert values["grade"] == 4
    for way in ("up", "down"):
        assert values[f"{way}_frames_per_second"] > 20
        assert values[f"{way}_bits_per_second"] > 1e6
        assert 4 < values[f"{way}_audio_mos"] <= 4.5
    spent = _of(district, "potka", "conference")["conditions"]["bytes_spent"]
    assert 1e6 < spent < 8e6  # it is on the office's byte budget


def test_a_call_leaves_no_numpy_in_the_hub(district: Demo) -> None:
    """What needs numpy, 15 MB, runs in a process of its own (`rtc.stats.line_process`)."""
    assert "line" in _of(district, "potka", "conference")["conditions"]
    libraries = Path(f"/proc/{district.programs._running['hub'].pid}/maps").read_text("utf-8")
    assert "libavcodec" in libraries  # calls have been here
    assert "numpy" not in libraries


def test_the_internet_path_is_measured_by_the_agent(district: Demo) -> None:
    """speedtest-cli at the office, through its own line, against the demo's server."""
    values = _of(district, "potka", "bandwidth", "internet")["values"]
    assert 3.4e6 < values["download_bits_per_second"] < 4.1e6
    assert 3.4e6 < values["upload_bits_per_second"] < 4.1e6


@pytest.mark.server("promtool")
def test_metrics_are_clean_and_agree_with_the_api(district: Demo) -> None:
    """promtool finds nothing; an office without an agent has no bandwidth series at all."""
    text = _get(district, "/metrics")
    promtool = str(find_program("promtool"))
    check = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")
    series = [line for line in text.splitlines() if line.startswith("jharnet_bandwidth_bytes")]
    assert any('office="potka"' in line for line in series)
    assert not any('office="chakulia"' in line for line in series)
    assert 'jharnet_conference_grade{office="potka"} 4' in text.replace("4.0", "4")


def test_the_status_page_says_the_answer_in_both_languages(district: Demo) -> None:
    """Every office stands on the page, in Hindi and in English."""
    for language, name in (("en", "Potka"), ("hi", "पोटका")):
        assert name in _get(district, f"/?lang={language}")


def test_the_report_shows_the_figures_of_the_api(district: Demo) -> None:
    """The PDF opens, names every office, and has the speeds that the API answers."""
    week = week_measured(district.results, ZoneInfo("Asia/Kolkata"))
    arguments = ["report", "--week", week, "--lang", "en", "--json"]
    done = _command(district, *arguments, "--out", str(district.installation.reports))
    assert done.returncode == 0, done.stderr
    [file] = [name for name in json.loads(done.stdout)["files"] if "-annex" not in name]
    text = "\n".join(page.extract_text() for page in PdfReader(file).pages)
    for name in ("Potka", "Dumaria", "Chakulia"):
        assert name in text
    rate = _of(district, "potka", "bandwidth")["values"]["download_bits_per_second"]
    assert f"{rate / 1e6:.2f}" in text


def test_commands_reach_the_hub_and_exit_as_agreed(district: Demo) -> None:
    """0 for a result, 1 for a bad one, 2 with one line for wrong usage."""
    good = _command(district, "probe", "latency", "potka", "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["values"]["received"] > 0
    bad = _command(district, "probe", "conference", "chakulia")
    assert bad.returncode == 1
    wrong = _command(district, "probe", "latency", "nowhere")
    assert wrong.returncode == 2
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert "Traceback" not in wrong.stderr


def test_a_stranger_is_refused_and_nothing_is_handed_in(district: Demo, tmp_path: Path) -> None:
    """A wrong token ends the agent with one line; changing anything needs the API's token."""
    token = tmp_path / "token"
    token.write_text("wrong")
    token.chmod(0o600)
    command = [
        sys.executable, "-m", "jharnet_monitor", "agent", "--office", "potka",
        "--hub", f"wss://{district.place.hub_address}:9797/agent",
        "--token-file", str(token), "--ca", str(district.installation.ca), "--spool", str(tmp_path),
    ]  # fmt: skip
    with district.place.popen("potka", command, stderr=subprocess.PIPE, text=True) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "refused" in errors.strip().splitlines()[-1]
    with pytest.raises(UserError, match="HTTP 401"):
        HubClient(district.hub.base, None).post("/-/reload")


def _state(one: Demo, office: str) -> str:
    offices = {o["id"]: o for o in one.hub.get("/api/v1/offices")}
    return str(offices[office]["state"])


def _findings(one: Demo, office: str, since: datetime) -> list[str]:
    """The causes that outages turned out to have, from the hub's own database."""
    store = Store(f"sqlite:///{one.installation.directory}/monitor.db", SystemClock())
    found = store.event_log.transitions(office, since)
    store.close()
    return [t.state.value for t in found if t.supersedes is not None]


def _recorded(one: Demo, office: str, since: datetime) -> str:
    """All changes and events, by which a cause is found, and whether a review broke off, a line
    each."""
    store = Store(f"sqlite:///{one.installation.directory}/monitor.db", SystemClock())
    log = store.event_log
    rows: list[Any] = log.transitions(office, since)
    rows += log.events(office, since, datetime.now(UTC))
    store.close()
    lines = [str(row) for row in sorted(rows, key=lambda row: row.at)]
    return "\n".join(lines + re.findall(".*part_restarts_total.*", _get(one, "/metrics")))


CUTS = {"potka": "link", "dumaria": "power"}


@pytest.fixture(scope="module")
def cut(district: Demo) -> datetime:
    """Twenty seconds without a line at one office and without power at the other, at the same time:
    both unreachable at once, then up; gives a time before it. An outage begins with the last reply,
    up to a second before the cut.
    """
    lab, before = district.place.lab, datetime.now(UTC) - timedelta(seconds=10)
    assert lab is not None
    assert {_state(district, office) for office in CUTS} == {"up"}
    for office, what in CUTS.items():
        lab.cut(office, what)
    assert _until(lambda: {_state(district, o) for o in CUTS} == {"unreachable"}, 12)
    time.sleep(12)
    for office, what in CUTS.items():
        lab.restore(office, what)
    returned = time.monotonic()
    district.programs.start_agent("dumaria")
    assert _until(lambda: _state(district, "potka") == "up", 12)
    assert _until(lambda: _state(district, "dumaria") == "up", 15 + returned - time.monotonic())
    return before


def test_a_cut_line_is_distinguished_from_power_afterwards(district: Demo, cut: datetime) -> None:
    """Within a minute `link_down`: the agent recorded meanwhile that its own gateway answered, and
    hands that in.
    """
    found = _until(lambda: "link_down" in _findings(district, "potka", cut), 60)
    assert found, _recorded(district, "potka", cut)
    assert "power_down" not in _findings(district, "potka", cut)

    since = cut - timedelta(minutes=2)  # the agent's minute began before the cut
    url = f"/api/v1/measurements?office=potka&probe=latency&since={since:%Y-%m-%dT%H:%M:%SZ}"
    paths = {m["conditions"].get("path") for m in district.hub.get(url)}
    assert {"agent_hub", "agent_gateway"} <= paths


def test_a_power_cut_is_distinguished_from_a_line_fault(district: Demo, cut: datetime) -> None:
    """The PC comes back with a new boot, without a goodbye: `power_down`."""
    found = _until(lambda: "power_down" in _findings(district, "dumaria", cut), 60)
    assert found, _recorded(district, "dumaria", cut)
    assert "link_down" not in _findings(district, "dumaria", cut)


def test_a_lan_fault_is_neither(district: Demo) -> None:
    """The router answers, nothing behind it does."""
    lab = district.place.lab
    assert lab is not None
    lab.cut("potka", "lan")
    assert _until(lambda: _state(district, "potka") == "lan_down", 15)
    lab.restore("potka", "lan")
    assert _until(lambda: _state(district, "potka") == "up", 15)


def test_a_killed_hub_goes_on_where_it_was(district: Demo) -> None:
    """kill -9: after a restart the agents come back, counters continue, the chain is whole."""

    def counted() -> float:
        lines = _get(district, "/metrics").splitlines()
        name = 'jharnet_probe_runs_total{office="potka",probe="conference",outcome="ok"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = counted()
    assert before >= 1
    kill_hub(district.programs)
    district.programs.start_hub()
    district.wait_for_agents()
    assert counted() == before
    assert _command(district, "db", "verify").returncode == 0
