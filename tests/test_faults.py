"""The fault ledger: what its entries say together, compared with what was measured, and who may
book."""

from __future__ import annotations

import csv
import io
import random
import sqlite3
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.i18n.formats import iso_moment, moment
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.judge.calendar.period import date_range, day
from jharnet_monitor.judge.faults import (
    Stop,
    StopReason,
    judge_faults,
    ledger,
    measured_outage,
    unbooked,
)
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.output.document import content
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import to_ms
from tests import made_up_week
from tests.bench.papers import GOOD, shared_fault
from tests.dossier_support import filed
from tests.made_up import NOW
from tests.made_up_hub import MadeUpHub
from tests.made_up_week import MADE_AT, WEEK, ZONE
from tests.store_support import START
from tests.support import make_config
from tests.web_support import BEARER, Client, bad_morning, error, page, serving

OFFICE = "potka"


def hour(number: float) -> datetime:
    """A time after the start of the test's history."""
    return START + timedelta(hours=number)


def entry(name: str = "potka-1", **stated: object) -> tuple[str, dict[str, object]]:
    """An entry of the ledger; times as numbers of hours."""
    reported = {
        key: format_utc(hour(value)) if isinstance(value, int | float) else value
        for key, value in stated.items()
    }
    return OFFICE, {"fault": name, "set": reported}


def test_a_fault_is_what_its_entries_say_together() -> None:
    """The last entry of each field counts; a withdrawn fault does not count."""
    entries = [
        entry(reported_at=1, docket="A"), entry("potka-2", reported_at=0.5),
        entry(restored_at=9), entry(restored_at=7, docket="B"), entry("potka-2", withdrawn=True),
    ]  # fmt: skip
    [fault] = ledger(entries)
    assert (fault.docket, fault.entries) == ("B", 3)
    assert fault.seconds(hour(99)) == 6 * 3600
    for wrong in (
        {"fault": "potka-1"},
        {"fault": "x", "set": {"paid": 1}},
        {"fault": "x", "set": {}},
    ):
        with pytest.raises(ValueError, match="cannot be read"):
            ledger([(OFFICE, wrong)])


def test_the_clock_stands_for_each_stopped_minute_once() -> None:
    """Against a count minute by minute, of 200 ledgers drawn at random: stops that overlap, that
    begin before the report, or that last.
    """
    dice = random.Random(19)
    for _ in range(200):
        stops = []
        for _ in range(dice.randrange(4)):
            begin = dice.randrange(-5, 20)
            end = None if dice.random() < 0.2 else begin + dice.randrange(1, 10)
            stops.append((begin, end))
        restored = dice.choice((None, dice.randrange(1, 24)))
        reported = [
            Stop(hour(b), None if e is None else hour(e), StopReason.POWER).to_json()
            for b, e in stops
        ]
        [fault] = ledger([entry(reported_at=0, restored_at=restored, stops=reported)])
        last = 24 if restored is None else restored
        counted = sum(
            not any(b <= n < (last if e is None else e) for b, e in stops) for n in range(last)
        )
        assert fault.seconds(hour(24)) == counted * 3600


def test_the_measured_outage_proposes_the_end() -> None:
    """The outage is the one in progress, or one that had just ended; an outage beyond the agreed
    time that nobody booked is proposed, and one that was booked is not.
    """
    down = OfficeState.LINK_DOWN
    states = [
        Span(down, hour(0), hour(6)), Span(OfficeState.UP, hour(6), hour(40)),
        Span(down, hour(40), hour(41)), Span(OfficeState.POWER_DOWN, hour(50), hour(90)),
        Span(OfficeState.UNREACHABLE, hour(100), hour(105)),
    ]  # fmt: skip
    config = make_config()
    during, after = ledger([entry(reported_at=2), entry("potka-2", reported_at=20)])
    assert measured_outage(during, states) == measured_outage(after, states) == states[0]
    [late] = ledger([entry(reported_at=35)])
    assert measured_outage(late, states) is None
    [named] = ledger([entry(reported_at=35, began_at=0)])
    assert measured_outage(named, states) == states[0]
    missing = unbooked(config, [during], {OFFICE: states}, {OFFICE: states})
    assert [one.outage for one in missing] == [states[4]]
    [found, _] = judge_faults(config, [during, after], {OFFICE: states}, hour(104))
    assert (found.over_at, found.within, found.repeats) == (hour(6), False, 1)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[tuple[Client, MadeUpHub]]:
    """A hub on loopback whose office was down for six hours, until an hour ago."""
    hub = bad_morning(tmp_path)
    for ago, state in ((99, "up"), (7, "link_down"), (1, "up")):
        at = NOW - timedelta(hours=ago)
        hub.store.event_log.add_transition(OFFICE, OfficeState(state), at, {})
    async with serving(hub) as client:
        yield client, hub


async def test_a_fault_is_booked_and_closed_over_http(client: tuple[Client, MadeUpHub]) -> None:
    """Proposed at first; booked only with a token; closed with the measured end, which is refused
    while nothing is measured; and each entry stays.
    """
    web, hub = client
    proposed = (await (await web.get("/api/v1/faults")).json())["proposed"]
    assert [one["office"] for one in proposed] == [OFFICE]
    assert await error(web, "/api/v1/faults", 401, method="POST", json={"office": OFFICE})
    booking = {"office": OFFICE, "docket": "JH/7", "reported_to": "NOC",
               "reported_at": format_utc(NOW - timedelta(hours=5))}  # fmt: skip
    answer = await web.post("/api/v1/faults", headers=BEARER, json=booking)
    assert answer.status == 201, await answer.text()
    assert (answer.status, answer.headers["Location"]) == (201, "/api/v1/faults/potka-1")
    listed = await (await web.get(f"/api/v1/faults?office={OFFICE}")).json()
    assert (listed["proposed"], listed["faults"][0]["seconds_to_restore"]) == ([], 5 * 3600)
    stop = {"stop": {"reason": "power", "from": format_utc(NOW - timedelta(hours=4)),
                     "to": format_utc(NOW - timedelta(hours=3))}}  # fmt: skip
    for change in (stop, {"restored_at": "measured"}):
        answer = await web.post("/api/v1/faults/potka-1", headers=BEARER, json=change)
        assert answer.status == 200, await answer.text()
    [found] = (await (await web.get("/api/v1/faults")).json())["faults"]
    assert found["restored_at"] == format_utc(NOW - timedelta(hours=1))
    assert (found["seconds_to_restore"], found["within"]) == (3 * 3600, True)
    assert len(hub.store.event_log.events_of_kind("fault")) == 3
    for language in LANGUAGES:
        for path in ("/faults", f"/office/{OFFICE}"):
            assert "JH/7" in await page(web, path, language)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"docket": "x" * 201}, "`docket` must be one line of at most 200"),
        ({"note": "a\nb"}, "`note` must be one line"),
        ({"reported_at": "2999-01-01T00:00:00Z"}, "`reported_at` 2999-01-01T00:00:00.000Z lies"),
        ({"reported_at": "2999-01-01T00:00:00 05:30"}, "2999-01-01T00:00:00+05:30 lies ahead"),
        ({"restored_at": "2020-01-01T00:00:00Z"}, "must not be before `reported_at`"),
        ({"restored_at": "2020-01-01T00:00:00+05:30"}, "2020-01-01T00:00:00+05:30 must not be"),
        ({"restored_at": "measured"}, "no measured outage of potka-1 is over"),
        ({"stop": {"reason": "rain", "from": "2026-11-25T00:00:00Z"}}, "one of power, access"),
        ({"stop": {"reason": "power"}}, "`stop` needs `from`"),
        ({"colour": "red"}, "unknown key `colour`"),
    ],
)
async def test_a_wrong_entry_is_one_clear_line(
    client: tuple[Client, MadeUpHub], stated: dict[str, object], message: str
) -> None:
    """The message names the key and what is valid, and nothing is stored."""
    web, hub = client
    request = {"method": "POST", "headers": BEARER, "json": {"office": OFFICE, **stated}}
    assert message in await error(web, "/api/v1/faults", 400, **request)
    assert hub.store.event_log.events_of_kind("fault") == []


def test_the_report_shows_open_faults_times_and_repeats(tmp_path: Path) -> None:
    """Two faults of one office, one restored too late, one open; the sentence on page one and the
    table say the same, and outages of other offices that were not booked are named.
    """
    made = made_up_week.make(tmp_path, weeks=1)
    at = WEEK.start + timedelta(days=1, hours=14)
    config = made.config.model_copy(
        update={"thresholds": made.config.thresholds.model_copy(update={"restore_within": 3600.0})}
    )
    line = made.config.offices[made_up_week.TROUBLES.index("line")].id
    for name, stated in (
        (f"{line}-1", {"reported_at": format_utc(at), "docket": "JH/9"}),
        (f"{line}-1", {"restored_at": format_utc(at + timedelta(hours=2))}),
        (f"{line}-2", {"reported_at": format_utc(at + timedelta(days=3))}),
    ):
        made.store.event_log.add_event(line, "fault", at, {"fault": name, "set": stated})
    summary = summarise(made.store, config, WEEK, MADE_AT)
    first, second = summary.faults
    assert (first.seconds, first.within, second.is_open, second.repeats) == (7200, False, True, 2)
    assert first.outage is not None and first.outage.state is OfficeState.LINK_DOWN
    assert len(summary.unbooked) == 5  # of the seven outages of two hours two were booked
    for language in LANGUAGES:
        text_ = words(language)
        document = content(summary, text_)
        assert text_("faults.open_late", n=1) in document["front"]["sentences"][-1]
        assert [row["docket"] for row in document["faults"]["rows"]] == ["JH/9", "—"]
    made.store.close()


def test_a_fault_is_restored_in_one_period_and_open_in_the_one_before(tmp_path: Path) -> None:
    """Reported at 20:00, restored at 06:00, with a stop of the clock from 22:00 to 02:00. At the
    first day's end it is open and its clock stands; on the second it counts with its whole time.
    """
    made = made_up_week.make(tmp_path, weeks=1, troubles=GOOD, drilled=False)
    office = made.config.offices[0].id
    first, second = (day(f"2026-11-{number}", ZONE) for number in (17, 18))
    midnight = first.end
    entries = booked(office, midnight - timedelta(hours=4))
    stop = Stop(midnight - timedelta(hours=2), midnight + timedelta(hours=2), StopReason.POWER)
    restored = {"restored_at": format_utc(midnight + timedelta(hours=6)), "stops": [stop.to_json()]}
    for data in (entries, {"fault": f"{office}-1", "set": restored}):
        made.store.event_log.add_event(office, "fault", midnight, data)
    [fault] = summarise(made.store, made.config, first, MADE_AT).faults
    assert (fault.is_open, fault.seconds) == (True, 2 * 3600)
    assert fault.fault.stops == (replace(stop, end=None),)
    summary = summarise(made.store, made.config, second, MADE_AT)
    made.store.close()
    [fault] = summary.faults
    assert (fault.is_open, fault.seconds, fault.fault.stops) == (False, 6 * 3600, (stop,))
    for language in LANGUAGES:
        text = words(language)
        [*_, last] = content(summary, text)["front"]["sentences"]
        assert moment(summary.until, ZONE, text) in last and text("faults.none_open") in last


async def test_the_page_has_an_entry_whose_time_lies_a_little_ahead(
    client: tuple[Client, MadeUpHub],
) -> None:
    """By a clock that is three minutes ahead of the hub's: it is listed as it was booked."""
    web, _ = client
    ahead = format_utc(NOW + timedelta(minutes=3))
    booking = {"office": OFFICE, "reported_at": ahead, "restored_at": ahead}
    answer = await web.post("/api/v1/faults", headers=BEARER, json=booking)
    assert answer.status == 201, await answer.text()
    [found] = (await (await web.get("/api/v1/faults")).json())["faults"]
    assert (found["reported_at"], found["restored_at"]) == (ahead, ahead)
    assert found["seconds_to_restore"] == 0


def booked(office: str, reported_at: datetime) -> dict[str, object]:
    """The data of an entry that books an office's first fault."""
    return {"fault": f"{office}-1", "set": {"reported_at": format_utc(reported_at)}}


def switch_off_at_night(store: Store, office: str, first: datetime, nights: int) -> None:
    """Record that nothing of an office answers from 17:30 to 10:00; `first` is a midnight."""
    store.event_log.add_transition(office, OfficeState.UP, first, {})
    for night in range(nights):
        off = first + timedelta(days=night, hours=17.5)
        store.event_log.add_transition(office, OfficeState.UNREACHABLE, off, {})
        store.event_log.add_transition(office, OfficeState.UP, off + timedelta(hours=16.5), {})


def test_the_report_proposes_no_fault_for_what_is_not_the_offices_own(tmp_path: Path) -> None:
    """Nights that are switched off by habit and an outage of all offices are not proposed; a fault
    that was booked for the latter has its measured outage.
    """
    made = made_up_week.make(tmp_path, troubles=("", *GOOD[1:]), drilled=False)
    office, other = (one.id for one in made.config.offices[:2])
    switch_off_at_night(made.store, office, WEEK.end - timedelta(days=28), 27)
    shared_fault(made)
    began = WEEK.start + timedelta(days=2, hours=12, seconds=1)
    at = began + timedelta(hours=1)
    made.store.event_log.add_event(other, "fault", at, booked(other, at))
    thresholds = made.config.thresholds.model_copy(update={"restore_within": 3600.0})
    config = made.config.model_copy(update={"thresholds": thresholds})
    summary = summarise(made.store, config, WEEK, MADE_AT)
    made.store.close()
    assert summary.unbooked == ()
    [fault] = summary.faults
    assert fault.outage is not None and fault.outage.start == began
    assert len(summary.shared) == 1


async def test_the_page_proposes_no_fault_for_a_habit(client: tuple[Client, MadeUpHub]) -> None:
    """An office that is switched off every night is not proposed, and one with a fault is."""
    web, hub = client
    other = next(one.id for one in hub.config.offices if one.id != OFFICE)
    midnight = NOW.astimezone(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    switch_off_at_night(hub.store, other, midnight - timedelta(days=40), 40)
    found = await (await web.get("/api/v1/faults")).json()
    assert [one["office"] for one in found["proposed"]] == [OFFICE]


def test_a_dossier_knows_an_outage_that_began_before_its_first_day(tmp_path: Path) -> None:
    """A fault that was booked the evening before has its outage, which is booked then."""
    place = filed(tmp_path, 2, 22)
    period = date_range(str(WEEK.start.date()), str(place.period.days[-1]), ZONE)
    office = place.config.offices[0].id
    noon = period.start - timedelta(hours=12)
    began, over = period.start - timedelta(hours=4), period.start + timedelta(hours=6)
    place.store.event_log.add_event(
        office, "fault", began, booked(office, began + timedelta(hours=1))
    )
    with sqlite3.connect(tmp_path / "2-22.db") as connection:
        connection.execute("delete from chunks")
        connection.execute("delete from mails")
        for old, new, state in (
            (noon, began, "link_down"),
            (noon + timedelta(minutes=20), over, "up"),
        ):
            connection.execute(
                "update transitions set at = ?, state = ? where office = ? and at = ?",
                (to_ms(new), state, office, to_ms(old)),
            )
        connection.execute("update transitions set recorded_at = at")
        connection.execute("update events set recorded_at = at")
    replace(place, period=period).build(tmp_path / "dossier.zip")
    place.store.close()
    with zipfile.ZipFile(tmp_path / "dossier.zip") as file:
        rows = list(csv.DictReader(io.StringIO(file.read("faults.csv").decode())))
    [row] = rows
    assert (row["fault"], row["outage_state"]) == (f"{office}-1", "link_down")
    assert row["outage_begin"] == iso_moment(began, ZONE)
    assert row["outage_end"] == iso_moment(over, ZONE)
    assert verify(tmp_path / "dossier.zip", None, lambda _: None).problems == []
