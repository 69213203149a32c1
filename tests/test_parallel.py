"""Offices that are read in several processes: the same report, and no error is lost."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jharnet_monitor.errors import StoreError, Trouble, UserError
from jharnet_monitor.report.data import load
from jharnet_monitor.report.data.parallel import BranchError, in_parallel
from jharnet_monitor.report.output.compose import read_drafts
from jharnet_monitor.report.output.worker import in_own_process
from tests.made_up_week import MADE_AT, WEEK, MadeWeek

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_the_parts_are_done_in_processes_of_their_own_and_come_back_in_order() -> None:
    """The first part is done by the caller itself."""
    found = in_parallel(lambda part: (part, os.getpid()), ["a", "b", "c"])
    assert [part for part, _ in found] == ["a", "b", "c"]
    assert found[0][1] == os.getpid() and len({process for _, process in found}) == 3


def test_a_long_result_comes_back_whole() -> None:
    """It is longer than a pipe holds, and the caller is still at work when it is written."""
    lengths = [1, 3_000_000]
    assert list(map(len, in_parallel(lambda length: b"x" * length, lengths))) == lengths


def test_the_error_of_a_part_is_raised() -> None:
    """It keeps its type and what it says."""

    def work(part: int) -> int:
        if part:
            raise StoreError("the disk is full", Trouble.FULL)
        return part

    with pytest.raises(StoreError, match="the disk is full"):
        in_parallel(work, [0, 1])


@pytest.mark.parametrize("how", ["killed", "broken"])
def test_a_process_without_a_result_is_an_error(
    how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As when the system kills it for lack of memory, or by a fault of the program, which the log
    names."""

    def work(part: int) -> float:
        if part and how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return 1 / (1 - part)

    with pytest.raises(BranchError, match="ended without a result"):
        in_parallel(work, [0, 1])
    assert ("ZeroDivisionError: division by zero" in capfd.readouterr().err) is (how == "broken")


def test_no_process_remains_after_an_error() -> None:
    """If the caller's own part fails, the others are not waited for."""

    def work(part: int) -> None:
        if part:
            time.sleep(600)
        raise UserError("no")

    began = time.monotonic()
    with pytest.raises(UserError):
        in_parallel(work, [0, 1, 2])
    assert time.monotonic() - began < 60
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("processes", [2, 3, 40])
def test_a_report_does_not_depend_on_the_number_of_processes(
    made: MadeWeek, processes: int
) -> None:
    """Every sentence and every row of the annexes is the same, also with more processes than
    offices."""
    module, arguments = read_drafts.__module__, (made.config, WEEK, ["en"], MADE_AT)
    assert in_own_process(module, "read_drafts", *arguments, processes) == read_drafts(*arguments)


@pytest.mark.parametrize("days", [1, 2, 40])
def test_a_report_does_not_depend_on_how_many_days_are_read_at_once(
    made: MadeWeek, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """Every day has its own minutes, also those before the period."""
    arguments = (made.config, WEEK, ["en"], MADE_AT)
    usual = read_drafts(*arguments)
    rows = next(each.rows for each in usual[0].annexes if each.name == "days")
    assert len({row[1] for row in rows}) == 7
    monkeypatch.setattr(load, "DAYS_AT_ONCE", days)
    assert read_drafts(*arguments) == usual
