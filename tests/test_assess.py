"""The assessment of a line: the report and the dossier agree on the same measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scipy import special

from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.dossier.assessment_json import assessment_from_json, assessment_to_json
from jharnet_monitor.dossier.derive import derive
from jharnet_monitor.dossier.settings import read_settings, settings
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.line.assess import Assessment, Basis, LineEvidence, assess, need_policy
from jharnet_monitor.judge.line.by_time_of_day import TimeSlot
from jharnet_monitor.judge.line.loss import BLOCK_MS, PacketCounts
from jharnet_monitor.judge.line.verdict import Doubt, LineVerdict, Note
from jharnet_monitor.judge.outages.shared import JudgedSpans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.statistics.incomplete_beta import betainc, student_t_quantile
from jharnet_monitor.model import Direction, Measurement, OfficeState, Outcome
from jharnet_monitor.report.data.collect import Collector
from jharnet_monitor.report.data.load import judged_over, summarise
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.sections.front_page import speed_texts
from jharnet_monitor.report.sections.phrases import (
    reason,
    verdict_name,
)
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS
from jharnet_monitor.store.rows import canonical
from tests import made_up
from tests.dossier_support import MADE_AT, Filed, Forger, filed, with_contract
from tests.made_up_week import WEEK

DAYS = 28
OFFICES = [office.id for office in made_up.config(2).offices]


def _odd() -> Iterator[Measurement]:
    """What must not count: repeated tests, an agent's measurements of its gateway, minutes under
    load; and estimates by packet trains.
    """
    for day in range(DAYS):
        begin = WEEK.end - timedelta(days=DAYS - day)
        for office in OFFICES:
            low = made_up.bandwidth(office, begin + timedelta(hours=3, minutes=1), 2e5, 2e5)
            yield replace(low, conditions={"path": "jharnet", "retest": "due"})
            at = begin + timedelta(hours=4, seconds=7)
            values = {"sent": 60.0, "received": 20.0, "rtt_p50_seconds": 0.9}
            for conditions in ({"path": "agent_gateway"}, {"under_load": ["bandwidth"]}):
                yield Measurement(
                    office, "latency", at, 60.0, Outcome.OK, None, conditions, values,
                    f"{conditions}-{office}-{at}",
                )  # fmt: skip
            trains = {"download_capacity_bits_per_second": 3.7e6}
            yield Measurement(
                office, "bandwidth", at, 1.0, Outcome.OK, None, {"path": "trains"}, trains,
                f"t-{office}-{at}",
            )  # fmt: skip


def _traffic() -> Iterator[Measurement]:
    """Readings of the first office's router, including some that must not count: nights, one of our
    own tests, and a mean over an hour.
    """
    chance = Random(7)
    for day in range(DAYS):
        begin = WEEK.end - timedelta(days=DAYS - day)
        for minute in range(0, 24 * 60, 10):
            busy = 9 * 60 <= minute < 18 * 60
            at = begin + timedelta(minutes=minute, seconds=5)
            rate = 1.6e6 * chance.random() if busy else 3.9e6
            yield made_up.utilisation(OFFICES[0], at, rate, rate / 2)
        full = made_up.utilisation(OFFICES[0], begin + timedelta(hours=13, minutes=1), 4e6, 4e6)
        yield replace(full, id=f"{full.id}-load", conditions={"under_load": True})
        hour = {"window_seconds": 3600.0}
        yield replace(full, id=f"{full.id}-hour", values={**full.values, **hour})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filed]:
    """Two offices over the period that a weekly report assesses."""
    found = filed(tmp_path_factory.mktemp("judged"), 2, DAYS, more=[*_odd(), *_traffic()])
    yield found
    found.store.close()


@pytest.fixture(scope="module")
def claims(place: Filed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The claims of the dossier over that period."""
    path = tmp_path_factory.mktemp("dossier") / "d.zip"
    place.build(path)
    found: dict[str, Any] = Forger.of(path).json("claims.json")
    return found


def test_the_weekly_report_and_the_dossier_agree(place: Filed, claims: dict[str, Any]) -> None:
    """Verdict, reason, need, slab and all figures are equal over the same four weeks."""
    assert judged_over(WEEK, place.config) == place.period.days[0]
    for period in (WEEK, place.period):
        summary = summarise(place.store, place.config, period, MADE_AT)
        for office in summary.offices:
            claimed = claims["offices"][office.office.id]
            reported = assessment_to_json(office.assessment)
            assert reported == {name: claimed[name] for name in reported}
            assert office.assessment == assessment_from_json(claimed)
    assert claims["offices"][OFFICES[0]]["verdict"] == "upgrade"


@pytest.mark.parametrize("language", LANGUAGES)
def test_their_sentences_are_the_same(place: Filed, claims: dict[str, Any], language: str) -> None:
    """The report's table of verdicts has the same text as the dossier's claims."""
    phrase = words(language)
    summary = summarise(place.store, place.config, WEEK, MADE_AT)
    rows = content(summary, phrase)["lines"]["rows"]
    for office, row in zip(place.config.offices, rows, strict=True):
        claimed = assessment_from_json(claims["offices"][office.id])
        assert row["reason"] == reason(claimed, place.config, office, phrase)
        assert row["verdict"] == verdict_name(claimed.verdict, phrase)


def test_repeated_tests_and_minutes_under_load_do_not_count(claims: dict[str, Any]) -> None:
    """Nor do an agent's measurements of its own gateway."""
    for office in claims["offices"].values():
        assert office["delivered"]["down"]["low"] > 3.6e6
        assert office["loss"]["office"]["value"] == office["loss"]["night"]["value"] == 0.0
        assert office["delivered"]["down"]["basis"] == "off_hours"


def test_other_traffic_is_that_of_office_hours(claims: dict[str, Any]) -> None:
    """It is measured for the office whose router is read, and assumed for the other."""
    requested, other = (claims["offices"][office] for office in OFFICES)
    found = requested["other"]["down"]
    assert 1.46e6 < found["low"] < 1.52e6 < found["high"] < 1.58e6
    assert found["days"] in (23, 24) and found["n"] == 45 * found["days"] - found["days"]
    assert requested["need"]["down"]["measured"] and not other["need"]["down"]["measured"]
    policy = need_policy(made_up.config(2), made_up.config(2).offices[0])
    assumed = replace(policy, seats=20).need()
    assert other["need"]["up"] == {
        "value": pytest.approx(assumed), "low": pytest.approx(assumed),
        "high": pytest.approx(assumed), "measured": False, "at_least": False,
    }  # fmt: skip


def _tests(rate: float, count: int = 25, **conditions: Any) -> list[Measurement]:
    """One test per night, all under the same conditions."""
    office = OFFICES[0]
    return [
        replace(
            made_up.bandwidth(
                office, WEEK.end - timedelta(days=n, hours=2), rate * (1 + n / 1e3), rate
            ),
            conditions={"path": "jharnet", **conditions},
        )
        for n in range(count, 0, -1)
    ]


def _assessed(tests: list[Measurement]) -> Assessment:
    config = made_up.config(2)
    start = WEEK.end - timedelta(days=25)
    packets = PacketCounts()
    first = round(start.timestamp() * 1000)
    blocks = range(first, round(WEEK.end.timestamp() * 1000), BLOCK_MS)
    packets.add(blocks, [300.0] * len(blocks), [300.0] * len(blocks))
    evidence = LineEvidence(
        start=start,
        end=WEEK.end,
        stretch=[(start + timedelta(days=n)).date() for n in range(25)],
        states=JudgedSpans((Span(OfficeState.UP, start, WEEK.end),)),
        tests=tests,
        packets=packets,
        days=25,
    )
    return assess(config, config.offices[0], evidence)


def test_a_test_limited_by_its_own_pace_proves_no_slow_line() -> None:
    """It gives a lower bound only: there is no upper bound and no claim."""
    slow = _assessed(_tests(1e6))
    assert slow.verdict is LineVerdict.REPAIR
    held = _assessed(_tests(1e6, download_at_least=True, upload_at_least=True))
    down = held.line.down.delivered.median
    assert down is not None and down.low is not None and down.high == inf
    assert held.verdict is LineVerdict.NOT_ENOUGH_EVIDENCE
    written = assessment_to_json(held)
    assert written["delivered"]["down"]["high"] is None
    assert assessment_to_json(assessment_from_json(written)) == written


def test_a_test_that_a_computer_limited_says_nothing_of_the_line() -> None:
    """It is neither in the table of delivered rates by time of day, nor in any median."""
    config = made_up.config(2)
    office = config.offices[0]
    collector = Collector(config, office, WEEK, WEEK.days[0], WEEK.end)
    slow = _tests(1e6, 3, download_limited_by="host", limited_by="host")
    for test in [*_tests(4e6, 6), *slow]:
        collector.add_test(replace(test, outcome=Outcome.OK))
    summary = collector.summary(JudgedSpans((Span(OfficeState.UP, WEEK.start, WEEK.end),)), ())
    counts = [len([one for one in summary.speed_tests if one.rate(way)]) for way in Direction]
    assert counts == [6, 9]
    assert summary.down.median == pytest.approx(4e6, rel=0.01)


def test_a_policed_line_is_shown_by_what_it_sustains() -> None:
    """On page one, by time of day and in the chart, as in the verdict: not by its token bucket."""
    config, phrase = made_up.config(2), words("en")
    collector = Collector(config, config.offices[0], WEEK, WEEK.days[0], WEEK.end)
    long_tests = [
        replace(
            one,
            started_at=one.started_at + timedelta(hours=1),
            id=f"long-{one.id}",
            values={**one.values, "download_sustained_bits_per_second": 2.98e6},
        )
        for one in _tests(5e6, 4, download_limited_by="policer")
    ]
    for test in [*_tests(5e6, 6), *long_tests]:
        collector.add_test(test)
    summary = collector.summary(JudgedSpans((Span(OfficeState.UP, WEEK.start, WEEK.end),)), ())
    delivered = summary.assessment.line.down.delivered
    assert delivered.policed and delivered.median is not None
    assert summary.down.median == delivered.median.value == 2.98e6
    assert (summary.down.tests, summary.down.below, summary.down.quiet) == (4, 4, True)
    assert (summary.up.median, summary.up.tests, summary.up.below) == (5e6, 10, 0)
    assert summary.slots[Direction.DOWN][TimeSlot.OFF_HOURS].median.value == 2.98e6
    assert {one.down for one in summary.speed_tests} == {None, 2.98e6}
    stated = speed_texts(summary.down, summary.up, phrase)
    assert stated["speed"] == formats.both_rates(2.98e6, 5e6)
    assert stated["n"] == phrase("report.tests", n=4)


def test_no_speed_from_before_a_new_contract_is_held_against_it(tmp_path: Path) -> None:
    """Neither in the verdict, which the dossier derives alike, nor on page one; the trend holds
    each week against the contract of then.
    """
    place = filed(tmp_path, 2, DAYS)
    place.build(tmp_path / "d.zip")
    case = Forger.of(tmp_path / "d.zip").case()
    changed, config = WEEK.end - timedelta(days=2), with_contract(place.config, 10e6)
    sealed = settings_record(config)
    place.store.event_log.add_event(OF_THE_DATABASE, SETTINGS, changed, sealed)
    case.evidence.database_events.append((SETTINGS, changed, canonical(sealed)))
    case.evidence.config = read_settings(settings(config))
    summary = summarise(place.store, place.config, WEEK, MADE_AT)
    place.store.close()
    claims = derive(case.evidence, case.until)
    new, same = summary.offices
    for office in summary.offices:
        assert office.assessment == claims.offices[office.office.id].assessment
    assert new.assessment.verdict is LineVerdict.NOT_ENOUGH_EVIDENCE
    assert Doubt.FEW_RATE_DAYS in new.assessment.doubts and Note.CHANGED in new.assessment.notes
    delivered = new.assessment.line.down.delivered
    assert delivered.median is not None and delivered.median.days == 2
    assert delivered.since == changed.date()
    assert [(one.down.contracted, one.down.days) for one in (new, same)] == [
        (10e6, new.down.days), (4e6, same.down.days)
    ]  # fmt: skip
    assert (len(new.down.days), len(same.down.days)) == (2, 7)
    assert {point.down.contracted for point in new.history} == {4e6}
    assert same.assessment.line.down.delivered.since is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_contract_that_is_kept_is_not_repaired(language: str) -> None:
    """It delivers more than 80 % of the contract, but less than the need: nobody is blamed, and the
    text states between which needs that holds.
    """
    config, phrase = made_up.config(2), words(language)
    office = config.offices[0]
    found = _assessed(_tests(3.4e6))
    assert (found.verdicts, found.doubts, found.slab) == ((LineVerdict.NEED_NOT_MET,), (), None)
    assert found.holds is not None and found.holds.high == pytest.approx(4.2e6)
    assert found.holds.low < found.line.down.need.low < (found.holds.high or 0)
    text = reason(found, config, office, phrase)
    assert "3.81 Mbps" in text and "3 %" in text and "80 %" in text
    assert (
        phrase("capacity.holds.between", low=formats.rate(found.holds.low), high="4.20 Mbps")
        in text
    )


def test_packet_trains_are_used_if_there_are_too_few_tests() -> None:
    """A line that is tested in office hours only is assessed by its packet trains."""
    office = OFFICES[0]
    trains = [
        Measurement(
            office, "bandwidth", WEEK.end - timedelta(days=n, hours=11), 1.0, Outcome.OK, None,
            {"path": "trains"},
            {f"{way}_capacity_bits_per_second": 3.9e6 for way in ("download", "upload")}, f"t{n}",
        )
        for n in range(25, 0, -1)
    ]  # fmt: skip
    found = _assessed([*_tests(1e6, 3), *trains])
    down = found.line.down.delivered
    assert down.basis is Basis.TRAINS
    assert down.median is not None and down.median.value == 3.9e6
    assert found.verdict is LineVerdict.NOTHING


def test_the_beta_function_is_scipys() -> None:
    """Our incomplete beta function and Student's t agree with SciPy's over the range in use."""
    for a in (0.5, 3.0, 40.7, 900.0, 60_000.0):
        for b in (0.5, 2.0, 51.3, 1200.0, 70_000.0):
            for shift in (-0.02, 0.0, 0.02):
                x = min(max(a / (a + b) * (1 + shift), 1e-9), 1 - 1e-9)
                assert betainc(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-9)
    for df in (4, 6, 23, 89):
        assert student_t_quantile(df, 0.975) == pytest.approx(special.stdtrit(df, 0.975), rel=1e-12)
