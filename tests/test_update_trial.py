"""Versions of the agent on its machine: one that does not prove itself goes, power cut or not.

The base starts as a process of its own, and the versions are programs that work, crash or hang.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jharnet_monitor import __version__
from jharnet_monitor.agent.updater import Updater
from jharnet_monitor.agent.versions import MOST_ATTEMPTS, UpdateState, Versions
from jharnet_monitor.wire.intake import UpdateReport, read_vitals
from tests.update_support import begin_trial

ROOT = Path(__file__).parents[1]
STARTS = """
import sys, time
from pathlib import Path
from jharnet_monitor.agent import launch as launching
from jharnet_monitor.agent.launch import launch, versions_in
launching.PAUSE_SECONDS = 0
launch(versions_in(Path(sys.argv[1])), sys.argv[1:])
print("the base runs", flush=True)
"""
GOOD = """#!{python}
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from jharnet_monitor.agent.launch import versions_in
sys.prefix = str(Path(__file__).parents[1])
versions_in(Path(sys.argv[1])).confirm()
print("the new one runs", flush=True)
"""
CRASHES = """#!{python}
import sys
sys.exit(9)
"""
HANGS = """#!{python}
import time
time.sleep(60)
"""


def program(versions: Versions, text: str, name: str = "7.1.0-5") -> None:
    """A version whose program is this text."""
    place = versions.place(name) / "bin"
    place.mkdir(parents=True)
    (place / "jharnet-monitor").write_text(text.format(python=sys.executable, root=str(ROOT)))
    (place / "jharnet-monitor").chmod(0o755)
    versions.mark_complete(name)


def started(directory: Path) -> str:
    """What is printed when the base is started, until it ends."""
    argv = [sys.executable, "-c", STARTS, str(directory)]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Of a base that is this version."""
    return Versions(tmp_path, __version__)


def test_a_version_that_works_stays(versions: Versions) -> None:
    """It runs at the first start and at the next ones; a base that was installed anew by hand takes
    its place."""
    program(versions, GOOD)
    begin_trial(versions)
    for _ in range(2):
        assert started(versions.directory) == "the new one runs\n"
    last = versions.last()
    assert last is not None and (last.state, last.floor) == (UpdateState.CONFIRMED, 5)
    by_hand = Versions(versions.directory, "8.0.0")
    assert by_hand.to_start() == (None, None) and by_hand.current() == ""


def test_a_version_that_crashes_goes(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three starts the old version runs again, and the hub is told why."""
    program(versions, CRASHES)
    begin_trial(versions)
    assert started(versions.directory) == "the base runs\n"
    last = versions.last()
    assert last is not None
    assert (last.state, last.attempts) == (UpdateState.ROLLED_BACK, MOST_ATTEMPTS)
    assert last.why == "it ended with status 9" and not versions.place("7.1.0-5").exists()
    vitals = {"boot_id": "b", "uptime_seconds": 1, "spooled": 0, "update": last.to_report()}
    report = read_vitals(json.loads(json.dumps(vitals))).update
    assert report == UpdateReport("7.1.0", 5, "rolled_back", last.why, "offer")


def test_a_version_that_does_not_get_through_goes(versions: Versions) -> None:
    """It is ended when its time is over, and the version before it runs again."""
    program(versions, GOOD, "7.0.0-4")
    versions.begin_trial("7.0.0", 4, "7.0.0-4", 20.0, "first")
    assert started(versions.directory) == "the new one runs\n"
    program(versions, HANGS)
    begin_trial(versions, seconds=1.0)
    began = time.monotonic()
    assert started(versions.directory) == "the new one runs\n"
    assert time.monotonic() - began < 15
    last = versions.last()
    assert last is not None and last.state is UpdateState.ROLLED_BACK
    assert "did not reach the hub" in last.why and versions.current() == "7.0.0-4"


@pytest.mark.parametrize("cut", ["venv", "state", "link"])
def test_a_power_cut_leaves_a_version_that_runs(versions: Versions, cut: str) -> None:
    """In the middle of the installation, before and after the change of the link."""
    if cut == "venv":  # half installed
        (versions.place("7.1.0-5") / "bin").mkdir(parents=True)
    else:
        program(versions, GOOD)
        begin_trial(versions)
        if cut == "state":  # it stands in the record, the link is the old one
            (versions.directory / "current").unlink()
    expected = "the new one runs\n" if cut == "link" else "the base runs\n"
    assert started(versions.directory) == expected


def test_only_the_version_on_trial_confirms_it(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old process, which the trial has not replaced yet, proves nothing about the new one."""
    program(versions, GOOD)
    begin_trial(versions)
    versions.confirm()
    last = versions.last()
    one = Updater(versions, "", lambda: None)
    assert last is not None and last.on_trial and one.trial_seconds() is None
    monkeypatch.setattr(sys, "prefix", str(versions.place("7.1.0-5")))
    assert one.trial_seconds() == 20.0
    versions.confirm()
    last = versions.last()
    assert last is not None and last.state is UpdateState.CONFIRMED


def test_a_trial_that_never_began_is_none(versions: Versions) -> None:
    """After a power cut before the change of the link, the hub may offer the release again."""
    program(versions, GOOD)
    begin_trial(versions)
    (versions.directory / "current").unlink()
    assert Updater(versions, "", lambda: None).report is None and versions.trial() is None


def test_a_stop_during_the_trial_is_passed_on(versions: Versions) -> None:
    """The machine shuts down: the new version ends, too, and is not taken for a failure."""
    program(versions, HANGS)
    begin_trial(versions)
    base = subprocess.Popen([sys.executable, "-c", STARTS, str(versions.directory)])
    try:
        while not (last := versions.last()) or not last.attempts:
            time.sleep(0.05)
        time.sleep(0.5)
        base.send_signal(signal.SIGTERM)
        assert base.wait(10) == 0
    finally:
        base.kill()
    last = versions.last()
    assert last is not None and last.on_trial
