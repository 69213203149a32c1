"""Tests that run in processes of their own beside the others, if all are run.

The others mostly wait, for calls, outages and browsers. A second process runs the tests that hold
no times. It has the scheduling class SCHED_IDLE: it gets the CPU time that nobody else wants, so it
does not disturb what is timed. A third process runs tests that wait for hubs and programs of their
own, such as browsers, and has a smaller share of the CPU than the first. The first process reports
what both report as if it had run the tests itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest

COMPUTING = frozenset({
    "test_accounts", "test_assess", "test_assess_limits", "test_borderline", "test_bundle",
    "test_bundle_wheels", "test_capacity", "test_cases", "test_clips", "test_command_errors",
    "test_common_cause", "test_config", "test_cures", "test_damaged_zip", "test_dashboards",
    "test_decision", "test_delivered_rate", "test_demo_history", "test_docstrings", "test_dossier",
    "test_dossier_office_lines", "test_dossier_proof", "test_downtime", "test_drill_verdict",
    "test_exit_codes", "test_exporters", "test_faults", "test_foreign_dossier", "test_forgery",
    "test_formats", "test_freeze_resampling", "test_hardly_known", "test_help", "test_house",
    "test_hub_commands", "test_joining", "test_judge_limits", "test_judge_readings",
    "test_judge_values", "test_judged_then", "test_lab_parts", "test_later_records", "test_letter",
    "test_loss_rates", "test_made_up_mark", "test_mail", "test_office_line", "test_office_page",
    "test_oldest_schema", "test_one_line", "test_outage_attribution", "test_outages",
    "test_packing", "test_paper_standards", "test_parallel", "test_period", "test_planned_work",
    "test_promql", "test_report", "test_report_files", "test_report_once", "test_report_says",
    "test_sessions_kept", "test_shared_faults", "test_simulated", "test_standby",
    "test_standby_places", "test_statistics_reference", "test_stats", "test_store_chain",
    "test_throughput", "test_traffic", "test_twin", "test_twin_arrivals", "test_twin_call",
    "test_twin_control", "test_twin_encoder", "test_twin_error", "test_twin_frozen",
    "test_twin_line", "test_twin_others", "test_twin_others_seen", "test_twin_path",
    "test_twin_picture", "test_twin_reference", "test_twin_transfers", "test_twin_voice",
    "test_use", "test_verdict_limits", "test_voice_video_grade", "test_web", "test_web_access",
    "test_web_api", "test_web_bodies", "test_windows", "test_words",
})  # fmt: skip
"""Names of files without `.py`. They need no lab, browser or server and hold no times."""
LOOKING = frozenset({"test_accessibility", "test_print", "test_web_browser"})
"""Files that look at pages in a browser, whatever time that takes; they run there, too."""
WAITING = frozenset({
    "test_enrolment", "test_exporters_stack", "test_full_disk", "test_install", "test_join",
    "test_join_check", "test_join_hidden", "test_join_stats", "test_join_tasks", "test_join_visit",
    "test_opening", "test_ownership", "test_reload", "test_rollout", "test_second_process",
    "test_state_exporters", "test_states", "test_status_page", "test_store",
    "test_store_writer", "test_update", "test_update_trial",
})  # fmt: skip
"""Files that wait for hubs and programs of their own, such as Prometheus, pip and a browser in a
call on loopback: the third process runs them. They need a part of the CPU, and hold no times. No
file with a lab is among them: its emulator runs before all else, and disturbs what the first
process times; nor one with calls that are graded, which a host with a part of the CPU is too slow
for."""
PATIENCE = 900.0
"""Seconds until another process must have ended, once the first has run its own tests."""
_VARIABLE = "JHARNET_TEST_REPORTS"
_REPORTS = os.environ.pop(_VARIABLE, None)  # so that no program of a test has it
_START = """
setsid sh -c '{ echo PRIORITY > /proc/self/autogroup; } 2> /dev/null; exec BEHIND "$@"' - "$@" \\
    > "$0" 2>&1 < /dev/null & echo $!
"""
"""Where the kernel groups processes by session, the class or priority counts within the group only,
so the group gets a low weight as well."""
_IDLE = _START.replace("PRIORITY", "19").replace("BEHIND", "chrt --idle 0")
_NICE = _START.replace("PRIORITY", "5").replace("BEHIND", "nice -n 5")
_CHOOSING = (
    "keyword", "markexpr", "deselect", "lf", "failedfirst", "stepwise", "maxfail", "collectonly",
    "setuponly", "setupplan", "usepdb", "trace",
)  # fmt: skip


def second_process_helps(config: pytest.Config) -> bool:
    """Whether the whole suite is run, on Linux, by more than one CPU, and in the first process."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    chosen = any(config.getoption(name, None) for name in _CHOOSING)
    linux = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1
    return whole and not chosen and linux and _REPORTS is None


@contextmanager
def second_process(
    session: pytest.Session, files: Collection[str] = COMPUTING | LOOKING, *, idle: bool = True
) -> Iterator[None]:
    """Leave the tests of `files` to another process, and report what it reports at the end.

    It gets the CPU that nobody else wants, or if not `idle`, a smaller share than this process.
    """
    theirs = [item for item in session.items if item.path.stem in files]
    session.items[:] = [item for item in session.items if item.path.stem not in files]
    with tempfile.TemporaryDirectory(prefix="jhn-second-") as directory:
        second = _SecondProcess(session.config, theirs, Path(directory), _IDLE if idle else _NICE)
        try:
            yield
            second.finish(PATIENCE)
        finally:
            second.kill()


def report_to_first(config: pytest.Config) -> None:
    """In the second process, let the first have every report, and let examples take their time."""
    if _REPORTS is not None:
        config.pluginmanager.register(_Reporter(config, Path(_REPORTS)))
        patient = hypothesis.settings(hypothesis.settings.default, deadline=None)
        hypothesis.settings.register_profile("second process", patient)
        hypothesis.settings.load_profile("second process")


class _Reporter:
    def __init__(self, config: pytest.Config, file: Path) -> None:
        self._config, self._file = config, file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a line of JSON to the file that the first process reads."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(data) + "\n")


class _SecondProcess:
    """pytest for some tests, beside this process.

    It is no child of this process, because some tests hold that none is left.
    """

    def __init__(
        self, config: pytest.Config, items: list[pytest.Item], directory: Path, start: str
    ) -> None:
        self._config, self._items = config, items
        self._reports, self._output = directory / "reports", directory / "output"
        self._reports.touch()
        files = sorted({str(item.path) for item in items})
        pytest_command = [sys.executable, "-m", "pytest", *files, "-p", "no:cacheprovider",
                          "--rootdir", str(config.rootpath), "--timeout", "900"]  # fmt: skip
        started = subprocess.run(
            ["sh", "-c", start, str(self._output), *pytest_command],
            env={**os.environ, _VARIABLE: str(self._reports)}, cwd=config.rootpath,
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        self._group = int(started.stdout)
        self._handle: int | None = None
        with suppress(ProcessLookupError):  # it has ended already
            self._handle = os.pidfd_open(self._group)

    def finish(self, patience: float) -> None:
        """Wait for its end, and report; a test that it did not end is reported as failed."""
        if self._handle is not None:
            with suppress(ProcessLookupError, PermissionError):  # now there is nothing to disturb
                os.sched_setscheduler(self._group, os.SCHED_OTHER, os.sched_param(0))
            select.select([self._handle], [], [], patience)
        self.kill()
        ended = set()
        whole_lines = self._reports.read_text("utf-8").rpartition("\n")[0]
        for line in whole_lines.splitlines():
            report = self._read(json.loads(line))
            self._config.hook.pytest_runtest_logreport(report=report)
            if report.when == "teardown":
                ended.add(report.nodeid)
        why = (
            "the process beside this one did not end it:\n"
            + self._output.read_text("utf-8")[-2000:]
        )
        for item in self._items:
            if item.nodeid not in ended:
                lost = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "teardown")
                self._config.hook.pytest_runtest_logreport(report=lost)

    def _read(self, data: dict[str, Any]) -> pytest.TestReport:
        report: pytest.TestReport = self._config.hook.pytest_report_from_serializable(
            config=self._config, data=data
        )
        if isinstance(report.longrepr, list):  # where a test was skipped: JSON has no tuples
            report.longrepr = tuple(report.longrepr)
        return report

    def kill(self) -> None:
        """End it with all that it has started, if it still runs."""
        if self._handle is None:
            return
        if not select.select([self._handle], [], [], 0)[0]:
            os.killpg(self._group, signal.SIGKILL)
        os.close(self._handle)
        self._handle = None
