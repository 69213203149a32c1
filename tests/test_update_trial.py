"""Versions of the agent on its machine: one that does not prove itself goes, power cut or not.

The base starts as a process of its own, and the versions are programs that work, crash or hang.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from jharnet_monitor import __version__
from jharnet_monitor.agent.daemon import Agent, RefusedError
from jharnet_monitor.agent.machine import BOOT_ID_VARIABLE
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.agent.updater import Updater
from jharnet_monitor.agent.versions import (
    COMPLETE,
    MOST_ATTEMPTS,
    MOST_SHORT_STARTS,
    UpdateState,
    Versions,
)
from jharnet_monitor.commands import agent_process
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.wire.intake import UpdateReport, read_vitals
from tests.update_support import HERE, begin_trial, small_bundle

ROOT = Path(__file__).parents[1]
BASE = """#!{python}
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from jharnet_monitor.agent import launch as launching
from jharnet_monitor.agent.launch import launch, versions_in
launching.PAUSE_SECONDS = 0
launch(versions_in(Path(sys.argv[1])), sys.argv[1:])
print("the base runs", flush=True)
"""
STOPPED_WHILE_IT_STARTS_ONE = BASE.replace(
    "launch(versions_in",
    """import os, signal
class Popen(launching.subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)
launching.subprocess.Popen = Popen
launch(versions_in""",
)
PAUSES = BASE.replace("PAUSE_SECONDS = 0", "PAUSE_SECONDS = 8")
GOES_ON = BASE + "import time\ntime.sleep(60)\n"
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


def base(directory: Path, text: str = BASE) -> list[str]:
    """The command of the base, which was installed by hand."""
    path = directory / "base"
    path.write_text(text.format(python=sys.executable, root=str(ROOT)))
    path.chmod(0o755)
    return [str(path), str(directory)]


def started(directory: Path, status: int = 0, text: str = BASE) -> str:
    """What is printed when the base is started, until it ends with this status."""
    done = subprocess.run(
        base(directory, text), capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


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
    assert time.monotonic() - began < 50  # it would hang for 60
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


@pytest.mark.parametrize("why", ["rolled back", "replaced"])
def test_a_version_that_was_deleted_in_part_is_not_complete(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """The power is cut before any other file of it is deleted; the hub can offer it again."""

    def cut(path: Path, **options: bool) -> None:
        raise SystemExit("the power is cut")

    program(versions, GOOD)
    begin_trial(versions)
    monkeypatch.setattr(shutil, "rmtree", cut)
    with pytest.raises(SystemExit):
        if why == "rolled back":
            versions.roll_back("it crashed")
        else:
            versions._delete_all_but(set())
    assert (versions.place("7.1.0-5") / "bin" / "jharnet-monitor").exists()
    assert not versions.is_complete("7.1.0-5")


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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(base(versions.directory), env=environment)
    try:
        while not (hanging := psutil.Process(running.pid).children()):
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0 and not hanging[0].is_running()
    finally:
        running.kill()
    last = versions.last()
    assert last is not None and last.on_trial and last.attempts == 0


def test_a_stop_while_the_version_starts_is_passed_on(versions: Versions) -> None:
    """The signal comes when its process exists and is not known yet."""
    program(versions, HANGS)
    begin_trial(versions, seconds=300.0)
    began = time.monotonic()
    assert started(versions.directory, text=STOPPED_WHILE_IT_STARTS_ONE) == ""
    assert time.monotonic() - began < 50  # it would hang for 60
    last = versions.last()
    assert last is not None and last.on_trial and last.attempts == 0


@pytest.mark.parametrize(("text", "status", "attempts"), [(PAUSES, 0, 1), (GOES_ON, -15, 3)])
def test_a_stop_after_a_failure_ends_the_program(
    versions: Versions, text: str, status: int, attempts: int
) -> None:
    """In the pause before the next start, and when the old version runs again."""
    program(versions, CRASHES)
    begin_trial(versions)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        base(versions.directory, text), env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        if text is GOES_ON:
            assert running.stdout.readline() == "the base runs\n"
        while not ((last := versions.last()) and last.why):
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == status and running.stdout.read() == ""
    finally:
        running.kill()
    last = versions.last()
    assert last is not None and last.attempts == attempts


def test_starts_before_the_machine_was_switched_off_do_not_count(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A power that fails again and again is no fault of the version."""
    boot = tmp_path / "boot"
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(boot))
    program(versions, GOOD)
    begin_trial(versions)
    for number in range(2 * MOST_ATTEMPTS):
        boot.write_text(f"boot-{number}")
        assert versions.to_start()[0] == versions._program("7.1.0-5")
    for _ in range(MOST_ATTEMPTS - 1):
        assert versions.to_start()[0] == versions._program("7.1.0-5")
    assert versions.to_start() == (None, None)


def test_a_kept_version_that_does_not_last_goes(versions: Versions) -> None:
    """It reached the hub once, and crashes ever since: the one before runs again, the hub is told,
    and no start of a version that lasts counts."""
    program(versions, GOOD, "7.0.0-4")
    versions.begin_trial("7.0.0", 4, "7.0.0-4", 20.0, "first")
    assert started(versions.directory) == "the new one runs\n"
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    (versions.place("7.1.0-5") / "bin" / "jharnet-monitor").write_text(
        CRASHES.format(python=sys.executable)
    )
    for _ in range(MOST_SHORT_STARTS):
        assert started(versions.directory, status=9) == ""
    assert started(versions.directory) == "the new one runs\n"
    last = versions.last()
    assert last is not None and last.state is UpdateState.ROLLED_BACK
    assert "crashed within 60 s, 10 times" in last.why and versions.current() == "7.0.0-4"


def test_a_kept_version_of_which_files_are_missing_goes(versions: Versions) -> None:
    """The hub is told, and the version before runs, or else the base."""
    for name, serial in (("7.0.0-4", 4), ("7.1.0-5", 5)):
        program(versions, GOOD, name)
        versions.begin_trial(name.partition("-")[0], serial, name, 20.0, "offer")
        assert started(versions.directory) == "the new one runs\n"
    (versions.place("7.1.0-5") / COMPLETE).unlink()
    assert started(versions.directory) == "the new one runs\n"
    last = versions.last()
    assert last is not None and (last.version, last.state) == ("7.1.0", UpdateState.ROLLED_BACK)
    assert last.why == "files of it are missing" and versions.current() == "7.0.0-4"
    assert versions.place("7.1.0-5").exists()  # a process of it may still run
    (versions.place("7.0.0-4") / COMPLETE).unlink()
    assert started(versions.directory) == "the base runs\n"
    assert versions.last() == last and versions.current() == ""


def test_a_version_does_not_roll_back_to_itself(versions: Versions) -> None:
    """It was kept, could not be started later, and was offered again."""
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    begin_trial(versions)
    versions.roll_back("it cannot be started")
    assert versions.current() == "" and versions.to_start() == (None, None)


def test_a_start_that_lasts_clears_the_count(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the version's own process can say so."""
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    for _ in range(MOST_SHORT_STARTS - 1):
        assert versions.to_start()[0] is not None
    versions.forget_starts()
    assert versions._short_starts("7.1.0-5") == MOST_SHORT_STARTS - 1
    monkeypatch.setattr(sys, "prefix", str(versions.place("7.1.0-5")))
    versions.forget_starts()
    assert versions._short_starts("7.1.0-5") == 0


def test_a_version_that_the_hub_refuses_has_not_crashed(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the office has not got its new token: each start ends at once, and none counts."""
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    monkeypatch.setattr(sys, "prefix", str(versions.place("7.1.0-5")))

    async def refused(self: Agent) -> None:
        raise RefusedError("the hub refused this agent")

    monkeypatch.setattr(Agent, "run", refused)
    for number in range(2 * MOST_SHORT_STARTS):
        assert versions.to_start()[0] == versions._program("7.1.0-5")
        spool = versions.directory / f"spool-{number}"  # the lock of each agent stays
        settings = AgentSettings("ws://127.0.0.1:1/agent", "potka", "t", spool,
                                 updates=versions.directory)  # fmt: skip
        with pytest.raises(UserError, match="refused this agent"):
            agent_process.run(settings, [])
    last = versions.last()
    assert last is not None and last.state is UpdateState.CONFIRMED


def test_short_starts_count_while_the_machine_is_on(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A power that fails again and again is no crash of the version that was kept."""
    boot = tmp_path / "boot"
    monkeypatch.setenv(BOOT_ID_VARIABLE, str(boot))
    boot.write_text("boot-0")
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    for number in range(2 * MOST_SHORT_STARTS):
        boot.write_text(f"boot-{number}")
        assert versions.to_start()[0] == versions._program("7.1.0-5")


def test_the_base_before_reads_what_this_one_writes(versions: Versions) -> None:
    """It knows no `boot` and no `fits`, and would drop all updates at one it does not know."""
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    written = json.loads((versions.directory / "state.json").read_text())
    assert set(written) == {
        "version", "serial", "state", "base", "directory", "previous", "floor", "attempts",
        "trial_seconds", "why", "offer",
    }  # fmt: skip


def test_the_base_reads_what_later_versions_write(versions: Versions) -> None:
    """It cannot be updated from afar: one field more must not end all updates."""
    program(versions, GOOD)
    begin_trial(versions)
    assert started(versions.directory) == "the new one runs\n"
    file = versions.directory / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "blue"}))
    last = versions.last()
    assert last is not None and last.floor == 5
    assert started(versions.directory) == "the new one runs\n"


def test_a_full_disk_starts_what_is_safe(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a record of its starts no version is tried; one that was kept runs."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    program(versions, GOOD)
    last = begin_trial(versions)
    monkeypatch.setattr("jharnet_monitor.agent.versions.write_durably", full)
    assert versions.to_start() == (None, None)
    monkeypatch.undo()
    versions.save(replace(last, state=UpdateState.CONFIRMED))
    monkeypatch.setattr("jharnet_monitor.agent.versions.write_durably", full)
    assert versions.to_start() == (versions._program("7.1.0-5"), None)


class Line:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, message: Any) -> None:
        """Keep it."""
        self.sent.append(message)


async def offered(directory: Path, machine: str = HERE.machine) -> tuple[Updater, Line, Any]:
    """An agent's updater, a line to its hub, and a release for this kind of machine."""
    bundle, fingerprint = small_bundle(directory, "7.1.0", 5, machine=machine)
    releases = Releases(directory / "published")
    releases.publish(bundle, fingerprint)
    found = releases.find("7.1.0")
    taking = Updater(Versions(directory / "updates", "0.1.0"), releases.key() or "", lambda: None)
    taking._versions.wheels.mkdir(parents=True)
    for wheel in (found.directory / "wheels").iterdir():
        shutil.copy(wheel, taking._versions.wheels)  # as if they were fetched
    params = {**found.to_params(), "version": "7.1.0", "serial": 5, "offer": "o"}
    return taking, Line(), params


async def test_a_release_for_other_machines_is_no_faulty_one(tmp_path: Path) -> None:
    """The hub learns that it does not fit here, and goes on with other offices."""
    taking, line, params = await offered(tmp_path, "riscv64")
    await taking.task(line, params, None)  # type: ignore[arg-type]
    assert line.sent[-1]["state"] == "refused" and line.sent[-1]["fits"] is False
    assert taking.report is not None and taking.report["fits"] is False
    again = Updater(taking._versions, "", lambda: None)
    assert again.report == taking.report
    report = read_vitals(
        {"boot_id": "b", "uptime_seconds": 1, "spooled": 0, "update": again.report}
    ).update
    assert report is not None and report.state == "refused"


async def test_a_disk_that_fills_up_during_an_installation_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub learns it although the disk takes no record; what was half made does not stay."""

    def half(*argv: str) -> None:
        if "venv" in argv:
            Path(argv[-1], "lib").mkdir(parents=True)
            Path(argv[-1], "lib", "half").write_bytes(bytes(1000))
        else:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    taking, line, params = await offered(tmp_path)
    monkeypatch.setattr("jharnet_monitor.agent.updater._run", half)
    monkeypatch.setattr("jharnet_monitor.agent.versions.write_durably", full)
    await taking.task(line, params, None)  # type: ignore[arg-type]
    assert line.sent[-1] == {"state": "refused", "why": "the disk: No space left on device"}
    assert taking.report is not None and taking.report["state"] == "refused"
    assert not taking._versions.place("7.1.0-5").exists()
