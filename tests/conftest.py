"""Shared fixtures, and skips: a test is skipped if a program is missing; in CI a skip fails.

`@pytest.mark.root` needs root, TUN and iproute2; `@pytest.mark.browser` Chromium,
or the browsers that it names, as `@pytest.mark.browser("firefox-esr")`;
`@pytest.mark.server("promtool", "postgres")` the programs it names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import Summary
from tests import made_up_week, second_process
from tests.dossier_support import Filed, Forger, filed
from tests.made_up_hub import MadeUpHub
from tests.made_up_past import Past, make_past
from tests.made_up_week import MadeWeek
from tests.web_support import Client, bad_morning, serving

CI = os.environ.get("CI") == "true"


def find_program(name: str) -> str | None:
    """The path of a program, also in sbin and PostgreSQL's own directory."""
    postgresql = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *postgresql]))


def _missing(item: pytest.Item) -> Iterator[str]:
    if item.get_closest_marker("root"):
        if os.geteuid() != 0:
            yield "root"
        if not Path("/dev/net/tun").exists():
            yield "/dev/net/tun"
        if find_program("ip") is None:
            yield "ip (iproute2)"
    for marker in item.iter_markers("browser"):
        names = marker.args or ("chromium",)
        yield from (name for name in names if find_program(name) is None)
    for marker in item.iter_markers("server"):
        yield from (name for name in marker.args if find_program(name) is None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose requirements are missing, except in CI."""
    for item in items:
        missing = ", ".join(_missing(item))
        if missing and not CI:
            item.add_marker(pytest.mark.skip(reason=f"needs {missing}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, report a skipped test as failed."""
    report = yield
    if CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, report a skipped file as failed."""
    report = yield
    if CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, which CI does not allow"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """In a run of the whole suite, let two more processes run the tests that may run beside."""
    if not second_process.second_process_helps(session.config):
        return (yield)
    with (
        second_process.second_process(session),
        second_process.second_process(session, second_process.WAITING, idle=False),
    ):
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """In such a process, let the first have the reports."""
    second_process.report_to_first(config)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeWeek]:
    """A store with four made-up weeks in it."""
    week = made_up_week.make(tmp_path_factory.mktemp("week"))
    yield week
    week.store.close()


@pytest.fixture(scope="module")
def summary(made: MadeWeek) -> Summary:
    """The summary of the last of these weeks."""
    return summarise(made.store, made.config, made_up_week.WEEK, made_up_week.MADE_AT)


@pytest.fixture
def hub(tmp_path: Path) -> MadeUpHub:
    """A made-up hub with a bad morning in the district, and an API token."""
    return bad_morning(tmp_path)


@pytest.fixture
async def client(hub: MadeUpHub) -> AsyncIterator[Client]:
    """An HTTP client of that hub."""
    async with serving(hub) as client:
        yield client


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filed]:
    """Two offices over three weeks, for dossiers; nothing may be changed in it."""
    made = filed(tmp_path_factory.mktemp("filed"), 2, 22)
    yield made
    made.store.close()


@pytest.fixture(scope="session")
def dossier(place: Filed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its dossier."""
    out = tmp_path_factory.mktemp("dossier") / "dossier.zip"
    place.build(out)
    return out


@pytest.fixture
def true(dossier: Path) -> Forger:
    """That dossier, ready to be forged."""
    return Forger.of(dossier)


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A made-up past with all its files; nothing may be changed in it."""
    return make_past(tmp_path_factory.mktemp("past"))
