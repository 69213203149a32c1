"""The whole suite with more processes: nothing is lost, and a failure there fails the run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.second_process import COMPUTING, LOOKING
from tests.second_process import WAITING as OF_THE_THIRD

ROOT = Path(__file__).parents[1]
CONFTEST = """
import pytest
from tests import second_process

def pytest_configure(config):
    second_process.report_to_first(config)

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    if not second_process.second_process_helps(session.config):
        return (yield)
    with (
        second_process.second_process(session, {"test_computing"}),
        second_process.second_process(session, {"test_third"}, idle=False),
    ):
        return (yield)
"""
WAITING = """
import os, psutil, time
from pathlib import Path

def others():
    here = [str(Path.cwd()).encode(), b"no:cacheprovider"]
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        for name in (b"test_computing.py", b"test_third.py"):
            try:
                if all(part in one.read_bytes() for part in (*here, name)):
                    process = int(one.parent.name)
                    later = os.getpriority(os.PRIO_PROCESS, process) - os.nice(0)
                    yield name, os.sched_getscheduler(process), later
            except OSError:
                pass

def test_here():
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
    assert not psutil.Process().children()
    deadline = time.monotonic() + 60
    while sorted(others()) != EXPECTED:
        assert time.monotonic() < deadline, list(others())
        time.sleep(0.05)
"""
COMPUTES = """
import hypothesis, os, pytest
def test_there():
    assert "JHARNET_TEST_REPORTS" not in os.environ
    assert hypothesis.settings().deadline is None or not SECOND
"""
THIRD = """
import time
def test_third():
    time.sleep(1)  # until it has been seen
"""
SEEN = """[
    (b"test_computing.py", os.SCHED_IDLE, 0), (b"test_third.py", os.SCHED_OTHER, 5),
]"""

pytestmark = pytest.mark.timeout(600)  # on a busy machine the second process has to wait
several = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")


def run(directory: Path, computing: str, *arguments: str, third: str = "") -> tuple[int, str]:
    """Exit code and output of pytest in a project with one file for each process."""
    (directory / "checks").mkdir()
    (directory / "pytest.ini").write_text("[pytest]\ntestpaths = checks\naddopts = -q\n")
    (directory / "checks/conftest.py").write_text(CONFTEST)
    alone = "-k" in arguments
    expected = "[]" if alone else SEEN
    (directory / "checks/test_waiting.py").write_text(WAITING.replace("EXPECTED", expected))
    computing = computing.replace("SECOND", str(not alone))
    (directory / "checks/test_computing.py").write_text(computing)
    (directory / "checks/test_third.py").write_text(THIRD + third)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


@several
def test_what_the_second_process_finds_is_reported(tmp_path: Path) -> None:
    """All pass: one sum of all processes, and exit code 0."""
    code, output = run(tmp_path, COMPUTES)
    assert code == 0, output
    assert "3 passed" in output and "100%" in output


@several
def test_a_failure_in_the_second_process_fails_the_run(tmp_path: Path) -> None:
    """With its trace and what it printed; skipped tests and errors of fixtures are counted, too."""
    more = """
def test_wrong():
    print("said before")
    assert 1 + 1 == 3
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.fixture
def broken():
    raise ValueError("no fixture")
def test_error(broken): pass
"""
    code, output = run(tmp_path, COMPUTES + more, "-rs")
    assert code == 1, output
    assert "1 failed, 3 passed, 1 skipped, 1 error" in output
    for text in ("assert (1 + 1) == 3", "said before", "not today", "no fixture"):
        assert text in output


@several
def test_a_second_process_that_ends_early_fails_the_run(tmp_path: Path) -> None:
    """What it had found is kept; each test that it did not end is an error."""
    more = "\ndef test_dies(): os._exit(0)\ndef test_never(): pass\n"
    code, output = run(tmp_path, COMPUTES + more)
    assert code == 1, output
    assert "3 passed, 2 errors" in output
    assert "did not end it" in output


@several
def test_a_failure_in_the_third_process_fails_the_run(tmp_path: Path) -> None:
    """With its trace; what ended it early is an error, too."""
    more = "\ndef test_wrong(): assert 1 + 1 == 3\ndef test_dies(): __import__('os')._exit(0)\n"
    code, output = run(tmp_path, COMPUTES, third=more)
    assert code == 1, output
    assert "1 failed, 3 passed, 1 error" in output
    assert "assert (1 + 1) == 3" in output and "did not end it" in output


def test_chosen_tests_run_in_one_process(tmp_path: Path) -> None:
    """A choice of tests, as while one is being written, starts no second process."""
    code, output = run(tmp_path, COMPUTES, "-k", "test_")
    assert code == 0, output
    assert "3 passed" in output


CLOCKS = {
    "test_accounts": ["sleep("],  # so that checks of passwords would overlap
    "test_office_page": ["sleep("],  # so that a probe that may end now has ended
    "test_packing": ["sleep("],  # a process is killed after a random time
    "test_parallel": ["sleep(", "monotonic(", "monotonic("],  # ended within a minute of ten
}
"""Which files look at a clock all the same, for something that may take long."""


@pytest.mark.parametrize("name", sorted(COMPUTING))
def test_a_file_of_the_second_process_only_computes(name: str) -> None:
    """It asks for no root and no browser, and looks at no clock."""
    text = (ROOT / f"tests/{name}.py").read_text("utf-8")
    found = re.findall(
        r"mark\.(?:root|browser)\b|\bsleep\(|\bmonotonic\(|perf_counter|process_time|time\.time\(",
        text,
    )
    assert found == CLOCKS.get(name, [])


@pytest.mark.parametrize("name", sorted(COMPUTING | LOOKING | OF_THE_THIRD))
def test_a_file_of_another_process_is_patient(name: str) -> None:
    """Other programs may stop it for half a minute: a shorter time limit would end it."""
    text = (ROOT / f"tests/{name}.py").read_text("utf-8")
    seconds = re.findall(r"(?:timeout=|timeout\(|join\(|wait_for\([^()]*, )(\d[\d_]*)\b", text)
    milliseconds = re.findall(r"set_default_timeout\((\d[\d_]*)\)", text)
    limits = [int(one) for one in seconds] + [int(one) / 1000 for one in milliseconds]
    assert [limit for limit in limits if limit < 60] == []
