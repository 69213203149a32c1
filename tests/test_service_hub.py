"""The services at the hub: jobs, live state, store, metrics, budget, the office's page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.scheduler import Scheduler
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.services import FaultPlace
from jharnet_monitor.live import HubStatus, Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, Outcome
from jharnet_monitor.probes import PROBES, PRUNABLE, current
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS, LIGHT_TASKS
from jharnet_monitor.probes.base import ProbeContext, Reading, headquarters_office
from jharnet_monitor.probes.budget import planned_bytes
from jharnet_monitor.store import Store
from jharnet_monitor.web.charts import day
from jharnet_monitor.web.office import History, office_page
from jharnet_monitor.web.plot_data import PlotData
from tests.made_up import NOW, latency
from tests.support import make_config, stand_in

NAMES = ("e-office", "jharsewa")
FAST = {
    "dns_seconds": 0.02, "connect_seconds": 0.03, "tls_seconds": 0.06, "first_byte_seconds": 0.13,
    "total_seconds": 0.5, "bytes": 40_000.0, "status_code": 200.0,
    "certificate_expiry_seconds": 40 * 86400.0,
}  # fmt: skip
WAITS = FAST | {"first_byte_seconds": 9.0, "total_seconds": 9.4}
TRICKLES = FAST | {"total_seconds": 14.0}


def config(**service: Any) -> Config:
    """Three offices, the first with an agent, and two services."""
    services = [{"name": name, "url": f"https://{name}.example.in/"} for name in NAMES]
    made = make_config(probes={"service": {"services": services, **service}})
    with_agent = made.offices[0].model_copy(update={"agent": object()})
    return made.model_copy(update={"offices": (with_agent, *made.offices[1:])})


def visited(
    service: str, values: Mapping[str, float] = FAST, office: str = "potka", ago: float = 60.0,
    cause: Cause | None = None, **conditions: Any,
) -> Measurement:  # fmt: skip
    """A visit some seconds ago."""
    return Measurement(
        office, "service", NOW - timedelta(seconds=ago), 0.5,
        Outcome.OK if cause is None else Outcome.FAILED, cause,
        {"service": service, "end": "office", **conditions}, values,
    )  # fmt: skip


def live(*measurements: Measurement, **service: Any) -> Live:
    """A live state that holds these."""
    state = Live(CurrentConfig(config(**service)))
    for measurement in measurements:
        state.update(measurement)
    return state


def metrics(state: Live, name: str) -> dict[tuple[str, str, str], float]:
    """A family's samples by office, service and end."""
    registry = MetricsRegistry(state, ManualClock(NOW))
    return {
        (s.labels["office"], s.labels["service"], s.labels["end"]): s.value
        for family in registry.collect()
        for s in family.samples
        if s.name == f"jharnet_service_{name}"
    }


def sheets(state: Live, language: str = "en", *past: Measurement) -> dict[str, str]:
    """What the office's page says below each title; `past` is what latency was before."""
    formats = Formats.of(language, state.config.district.timezone, NOW)
    plot = PlotData(day((), NOW), (), (), ())
    page = office_page(state, state.config.offices[0], History(past, (), ()), formats, plot)
    return {sheet.title.split(",")[0]: " · ".join(sheet.why) for sheet in page.newest}


async def _nothing(office: str, probe: str, options: dict[str, Any]) -> None:
    """A probe that is never due here."""


async def test_each_service_is_a_job_of_each_agent_and_of_headquarters() -> None:
    """Spread over the interval; an office without an agent has none."""
    schedule = Scheduler(CurrentConfig(config()), ManualClock(NOW), _nothing, HubStatus())
    schedule.start()
    try:
        jobs = {j.id: j for j in schedule._scheduler.get_jobs() if j.id.startswith("service ")}
    finally:
        schedule.stop()
    places = ("potka", HEADQUARTERS)
    assert set(jobs) == {f"service {place} {name}" for place in places for name in NAMES}
    assert jobs["service potka jharsewa"].args == ("potka", "service", {"service": "jharsewa"})
    assert len({job.next_run_time for job in jobs.values()}) == len(jobs)


def test_services_of_one_office_are_series_of_their_own(tmp_path: Path) -> None:
    """In the live state, after a restart, and over a service that failed meanwhile."""
    first, second = visited("e-office"), visited("jharsewa", cause=Cause.TIMEOUT, ago=30)
    state = live(first, second)
    held = state.offices["potka"].latest
    assert held == {"service/e-office": first, "service/jharsewa": second}
    assert set(current(state.config, held, NOW)) == set(held)
    assert current(state.config, held, NOW + timedelta(hours=2)) == {}
    store = Store(f"sqlite:///{tmp_path}/monitor.db", ManualClock(NOW))
    store.migrate()
    store.add([first, second])
    assert {run.series for run in store.latest()} == set(held)
    assert "service" in PRUNABLE
    store.close()


def test_metrics_are_labelled_by_service_and_end() -> None:
    """Of each office and of headquarters; a failed visit has no total, an old one nothing."""
    state = live(
        visited("e-office"), visited("jharsewa", {"status_code": 503.0}, cause=Cause.HTTP_ERROR),
        visited("e-office", WAITS, HEADQUARTERS), visited("e-office", FAST, "boram", ago=9000),
    )  # fmt: skip
    potka, hub = ("potka", "e-office", "office"), (HEADQUARTERS, "e-office", HEADQUARTERS)
    assert metrics(state, "success") == {potka: 1, hub: 1, ("potka", "jharsewa", "office"): 0}
    assert metrics(state, "total_seconds") == {potka: 0.5, hub: 9.4}
    assert metrics(state, "first_byte_seconds")[hub] == 9.0
    assert metrics(state, "certificate_expiry_seconds")[potka] == 40 * 86400
    assert metrics(state, "status_code")["potka", "jharsewa", "office"] == 503
    text = MetricsRegistry(state, ManualClock(NOW)).snapshot().encode("")[0].decode()
    assert "jharnet_service_threshold_seconds 5" in text
    assert 'probe="service/' not in text and "http" not in text.replace("http://10", "")


@pytest.mark.parametrize(
    ("cause", "connected", "kept"),
    [
        (Cause.CONFERENCE_ON, True, True),
        (Cause.CONFERENCE_ON, False, False),
        (Cause.NO_AGENT, True, False),
    ],
)
def test_a_drill_does_not_end_an_alert_on_a_service(
    cause: Cause, connected: bool, kept: bool
) -> None:
    """The newest visit before it stays, as long as it is fresh; any other `no_data` ends it, and so
    does an agent that is gone.
    """
    failed = visited("e-office", cause=Cause.TIMEOUT, ago=60)
    state = live(failed, replace(visited("e-office", cause=cause), outcome=Outcome.NO_DATA))
    state.offices["potka"].agent.connected = connected
    assert metrics(state, "success") == ({("potka", "e-office", "office"): 0.0} if kept else {})


def test_what_could_not_be_measured_is_absent() -> None:
    """Success is absent; earlier values are exported until they are old."""
    gone = replace(visited("e-office", {}, ago=5), outcome=Outcome.NO_DATA, cause="no_agent")
    state = live(visited("e-office"), gone)
    assert metrics(state, "success") == {}
    assert len(metrics(state, "total_seconds")) == 1
    message = sheets(state)["Services (e-office)"]
    assert message == "not measured: the office's agent was not connected"


def test_a_service_that_is_configured_no_more_is_gone() -> None:
    """From the metrics at once, from the page once its visit is old."""
    state = live(visited("csc"), visited("e-office", ago=9000))
    assert metrics(state, "success") == {}
    assert set(sheets(state)) == {"Services (csc)"}


@pytest.mark.parametrize(
    ("office", "hub", "line", "fault"),
    [
        (FAST, FAST, {}, None),
        (WAITS, WAITS, {"lost": 9}, FaultPlace.SERVICE_SLOW),
        (WAITS, FAST, {"p50": 0.05}, FaultPlace.SERVICE_SLOW),
        (TRICKLES, FAST, {"lost": 9}, FaultPlace.LINE),
        (TRICKLES, FAST, {"p50": 0.05}, FaultPlace.UNKNOWN),
        (TRICKLES, FAST, {"p50": 0.4}, FaultPlace.LINE),
        (TRICKLES, FAST, {}, FaultPlace.UNKNOWN),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_where_the_fault_lies(
    office: dict[str, float], hub: dict[str, float], line: dict[str, Any], fault: FaultPlace | None,
    language: str,
) -> None:  # fmt: skip
    """By the office's visit, headquarters', and the line's latency."""
    runs = [visited("e-office", office), visited("e-office", hub, HEADQUARTERS)]
    runs += [latency("potka", NOW - timedelta(seconds=61), **line)] if line else []
    state = live(*runs)
    name = words(language)("probe.service")
    sentence = "" if fault is None else words(language)(f"service_fault.{fault}")
    assert sheets(state, language)[f"{name} (e-office)"] == sentence


def test_the_line_is_judged_by_the_time_of_the_visit() -> None:
    """Its state now, ten minutes later, is no evidence; without the past nothing is blamed."""
    runs = [visited("e-office", TRICKLES, ago=600), visited("e-office", FAST, HEADQUARTERS)]
    then = latency("potka", NOW - timedelta(seconds=630), lost=9)
    now = latency("potka", NOW - timedelta(seconds=61))
    message, name = words("en"), "Services (e-office)"
    assert sheets(live(*runs, now), "en", now, then)[name] == message("service_fault.line")
    assert sheets(live(*runs, now))[name] == message("service_fault.unknown")
    waited = [visited("e-office", WAITS, ago=600), visited("e-office", FAST, HEADQUARTERS)]
    assert sheets(live(*waited, now), "en", then)[name] == message("service_fault.unknown")


def test_a_failure_has_its_cause_and_its_place() -> None:
    """One sentence after the other."""
    failed = visited("e-office", {}, cause=Cause.CONNECTION_FAILED)
    there = visited("e-office", {}, HEADQUARTERS, cause=Cause.TIMEOUT)
    message = sheets(live(failed, there))["Services (e-office)"]
    assert message == (
        "failed: the server took no connection · "
        "The service is down everywhere, at headquarters too."
    )


def test_every_place_of_a_fault_has_words() -> None:
    """In both languages."""
    for language in LANGUAGES:
        message = set(words(language).group("service_fault"))
        assert message == set(FaultPlace) - {FaultPlace.NONE}


def test_a_visit_does_not_mark_simultaneous_measurements() -> None:
    """A visit is no load; a test that fills the line is."""
    assert {"service"} <= LIGHT_TASKS < set(AGENT_TASKS)


async def test_the_bytes_of_a_visit_count_and_a_refused_one_keeps_its_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although it takes no turn; also without an agent, or when the probe raises an error."""
    made, clock = config(), ManualClock(NOW)
    now, state = CurrentConfig(made), Live(CurrentConfig(made))
    store = Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    writer = StoreWriter(store, tmp_path / "waiting.db", state.hub, clock)
    recorder = Recorder(now, writer, state, clock)
    runner = Runner(now, clock, lambda _: None, recorder.spent_today, recorder.record)
    absent = await runner.run("potka", "service", {"service": "e-office"})
    assert (absent.cause, absent.series) == (Cause.NO_AGENT, "service/e-office")

    async def measured(context: ProbeContext) -> Reading:
        return Reading(FAST, {"end": HEADQUARTERS, "bytes_spent": 12_345})

    stand_in(monkeypatch, "service", run=measured)
    await runner.run(HEADQUARTERS, "service", {"service": "e-office"})
    assert recorder.spent_today(HEADQUARTERS) == 12_345
    stand_in(monkeypatch, "service", run=lambda context: asyncio.sleep(0, 1 / 0))
    broken = await runner.run(HEADQUARTERS, "service", {"service": "e-office"})
    assert (broken.cause, broken.series) == (Cause.INTERNAL_ERROR, "service/e-office")
    store.close()


def test_what_is_planned_is_in_the_budget() -> None:
    """Two services of half a megabyte every quarter of an hour are 113 MB a day at most."""
    made, none = config(), config(services=[])
    extra = planned_bytes(made, made.offices[0]) - planned_bytes(none, none.offices[0])
    assert extra == pytest.approx(2 * 96 * 590_000)
    assert list(PROBES["service"].jobs(none, headquarters_office(none))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": [{"name": "a", "url": "ftp://a/"}]},
        {"services": [{"name": "a", "url": "https:///x"}]},
        {"services": [{"name": "a", "url": "https://user:secret@a/"}]},
        {"services": [{"name": "A b", "url": "https://a/"}]},
        {"services": [{"name": "a", "url": "https://a/"}, {"name": "a", "url": "https://b/"}]},
        {"every": "10s"},
        {"timeout": "1h"},
        {"most": "1 GB"},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    """By a sentence that repeats no password."""
    with pytest.raises(ValidationError) as found:
        make_config(probes={"service": wrong})
    assert "secret" not in found.value.errors()[0]["msg"]
