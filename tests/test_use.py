"""Application readiness, the use of lines and the e-Office form: rule, report, tables and page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.applications import AppReadiness, ServiceUse, Visit, overall, service_use
from jharnet_monitor.live import Live
from jharnet_monitor.model import HEADQUARTERS, Measurement, Outcome
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.annex import tables
from jharnet_monitor.report.sections.use import use
from jharnet_monitor.store import Store
from jharnet_monitor.web.charts import day
from jharnet_monitor.web.office import History, office_page
from jharnet_monitor.web.plot_data import PlotData
from tests import made_up
from tests.made_up_week import MADE_AT, WEEK, ZONE

SERVICES = [{"name": name, "url": f"https://{name}.example.in/"} for name in ("e-office", "csc")]


def config() -> Config:
    """Three offices with two services; the first has a second line."""
    made = made_up.config(3)
    service = type(made.probes.service).model_validate({"services": SERVICES, "every": "30min"})
    probes = made.probes.model_copy(update={"service": service})
    links = [one.link.model_copy(update={"failover": first}) for one, first in
             zip(made.offices, (True, False, None), strict=True) if one.link]  # fmt: skip
    offices = tuple(
        one.model_copy(update={"link": link}) for one, link in zip(made.offices, links, strict=True)
    )
    return made.model_copy(update={"probes": probes, "offices": offices})


def visits(office: str, seconds: float) -> Iterator[Measurement]:
    """Both services every half hour of the week; csc is down everywhere on its second day."""
    for step in range(7 * 48):
        at = WEEK.start + timedelta(minutes=30 * step)
        for name in ("e-office", "csc"):
            down = name == "csc" and step // 48 == 1
            values = {"first_byte_seconds": seconds / 2} | (
                {} if down else {"total_seconds": seconds}
            )
            yield Measurement(
                office, "service", at, seconds, Outcome.FAILED if down else Outcome.OK,
                "http_error" if down else None, {"service": name, "end": "office"}, values,
                f"{office}-{name}-{step}",
            )  # fmt: skip


def traffic(office: str, share: float) -> Iterator[Measurement]:
    """A reading every ten minutes: most between 14 and 15 h, little at night."""
    for step in range(7 * 144):
        at = WEEK.start + timedelta(minutes=10 * step)
        hour = at.astimezone(ZONE).hour
        rate = 4e6 * share * (1.0 if hour == 14 else 0.5 if 10 <= hour < 18 else 0.01)
        yield made_up.utilisation(office, at, rate, rate / 4)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Summary]:
    """One office that is ready, one that is not, one of which nothing is known."""
    made, directory = config(), tmp_path_factory.mktemp("use")
    store = Store(f"sqlite:///{directory / 'use.db'}", ManualClock(MADE_AT))
    store.migrate()
    good, slow, _ = (office.id for office in made.offices)
    store.add([
        *visits(HEADQUARTERS, 0.4), *visits(good, 1.2), *visits(slow, 14.0),
        *traffic(good, 0.4), *traffic(slow, 0.9),
    ])  # fmt: skip
    yield summarise(store, made, WEEK, MADE_AT)
    store.close()


def test_an_office_is_ready_by_a_stated_rule(summary: Summary) -> None:
    """Only office hours count; outages that headquarters has, too, are left out."""
    good, slow, absent = summary.offices
    by_name = {one.service: one for one in good.services}
    assert by_name["e-office"].share == 1 and by_name["e-office"].left_out == 0
    assert by_name["csc"].share == 1 and by_name["csc"].left_out == 15  # a day's office hours
    assert by_name["e-office"].counted == 6 * 15
    found = [overall(one.services, 0.95) for one in (good, slow, absent)]
    assert found == [AppReadiness.READY, AppReadiness.NOT_READY, AppReadiness.UNKNOWN]


def test_too_few_visits_are_no_evidence() -> None:
    """Neither ready nor not; a visit during a test of ours does not count."""
    assert ServiceUse("csc", 19, 0, 0).readiness(0.95) is AppReadiness.UNKNOWN
    at = WEEK.start + timedelta(hours=12)
    loaded = [Visit(at, False, under_load=True)]
    found = service_use("csc", loaded, [], config().district, timedelta(minutes=30))
    assert (found.counted, found.left_out) == (0, 1)


def test_the_form_of_the_state(summary: Summary) -> None:
    """NIC-EOF-AF-6.0: per location connectivity, bandwidth, utilisation, failover line."""
    form = next(one for one in tables(summary) if one.name == "nic-eof-af-6.0")
    rows = [dict(zip(form.columns, row, strict=True)) for row in form.rows]
    assert [row["failover"] for row in rows] == [True, False, None]
    first, second, absent = rows
    assert (first["connectivity"], first["bandwidth"]) == ("leased-line", 4e6)
    assert first["use_lowest"] == pytest.approx(0.2) and first["use_highest"] == pytest.approx(0.4)
    assert first["busy_hour"] == 14 and second["use_highest"] == pytest.approx(0.9)
    assert first["use_lowest"] < first["use_mean"] < first["use_highest"]  # type: ignore[operator]
    assert absent["use_mean"] is None and absent["readings"] is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_shows_both(summary: Summary, language: str) -> None:
    """A row for each office, a bar for each line that was read."""
    found = use(summary, words(language))
    assert found is not None
    text = [words(language)(f"readiness.{one}") for one in ("ready", "not_ready", "unknown")]
    assert [row[1] for row in found["rows"]] == text
    assert len(found["chart"]["rows"]) == 2
    assert "14–15" in found["chart"]["rows"][0]["down"]["text"]


def test_the_page_of_an_office(summary: Summary) -> None:
    """How many services answer in time now, and the use of the line of the last days."""
    made = summary.config
    live = Live(CurrentConfig(made))
    office = made.offices[0]
    last = MADE_AT - timedelta(minutes=10)
    for name, seconds in (("e-office", 0.9), ("csc", 9.0)):
        live.update(Measurement(
            office.id, "service", last, seconds, Outcome.OK, None, {"service": name},
            {"total_seconds": seconds},
        ))  # fmt: skip
    formats = Formats.of("en", made.district.timezone, MADE_AT)
    readings = tuple(traffic(office.id, 0.4))
    page = office_page(
        live,
        office,
        History((), (), (), traffic=readings),
        formats,
        PlotData(day((), MADE_AT), (), (), ()),
    )
    assert page.applications == "1 of 2 in time"
    assert "busiest 14:00 to 15:00" in page.use[0] and "40 %" in page.use[0]
