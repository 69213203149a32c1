"""The state above the districts: signed weeks, the receiver, the report, and proof of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pypdf
import pytest
from pypdf.generic import NameObject, NumberObject
from sqlalchemy import create_engine

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.schema import StateSettings
from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import StoreError, TemporaryError, UserError
from jharnet_monitor.hub import weekly_push
from jharnet_monitor.hub.weekly_push import RETRY_AFTER_REFUSAL, WeeklyPush
from jharnet_monitor.i18n.words import words
from jharnet_monitor.live import HubStatus, Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.security.signing import make_key, read_key
from jharnet_monitor.security.tls import Files, make_authority, make_certificate
from jharnet_monitor.state import paper, push, unauthenticated, verify
from jharnet_monitor.state.figures import figures_of, tables
from jharnet_monitor.state.make import week_of
from jharnet_monitor.state.paper import basis_of, make_report
from jharnet_monitor.state.proof import HEADER, Proof, prove
from jharnet_monitor.state.push import PATH, make_signed, send
from jharnet_monitor.state.receiver import MOST_OF_A_DISTRICT, WeekReceiver
from jharnet_monitor.state.refused import WeekRefusedError
from jharnet_monitor.state.table import StateTable, metadata
from jharnet_monitor.state.verify import check_report, check_rows
from jharnet_monitor.state.views import make_views
from jharnet_monitor.state.week import MOST_BYTES, SignedWeek
from jharnet_monitor.store.engine import writing
from tests import made_up_week
from tests.pdf_text import plain, text_of
from tests.state_support import MADE_AT, SHIPPED, WEEK, Statewide, drawn_week
from tests.store_support import Postgres

NOW = MADE_AT + timedelta(hours=1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster for this file."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@asynccontextmanager
async def receiving(one: Statewide, now: datetime = NOW) -> AsyncIterator[str]:
    """The receiver at work; gives its address."""
    receiver = WeekReceiver(one.file, one.state, ManualClock(now))
    task = asyncio.create_task(receiver.run())
    async with asyncio.timeout(20):
        while receiver.address is None:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
    try:
        yield receiver.address
    finally:
        receiver.stop()
        await task


async def post(
    address: str, body: bytes | SignedWeek, one: Statewide, prover: str = "chatra"
) -> tuple[int, Any]:
    """Hand something in, with the proof of a district that may send."""
    data = body if isinstance(body, bytes) else body.model_dump_json().encode()
    headers = {HEADER: prove(read_key(one.key_of(prover)), prover, data).header()}
    async with (
        aiohttp.ClientSession() as http,
        http.post(address + PATH, data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


def held(one: Statewide) -> list[str]:
    """Hashes of what is in the table."""
    table = StateTable(one.state.database)
    try:
        return [row.sha256 for row in table.rows()]
    finally:
        table.close()


@pytest.mark.server("initdb", "pg_ctl", "pg_dump")
async def test_a_hubs_own_judgements_reach_the_report(tmp_path: Path, postgres: Postgres) -> None:
    """Over TLS, signed, once; the report has the figures of the hub's own summary, and follows from
    what was signed."""
    database = postgres.new_database()
    (tmp_path / "state").mkdir()
    files, clock_now = Files(tmp_path / "tls"), SystemClock().now()
    make_authority(files, "state", clock_now, ["localhost"])
    make_certificate(files, ["localhost"], [], clock_now)
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    one = Statewide(tmp_path / "state", database, tls=tls)
    week = made_up_week.make(tmp_path, weeks=1, every_minutes=240)
    district = week.config.district.id
    settings = StateSettings(url="https://x", key_file=one.key_of(district), ca=files.authority)
    config = week.config.model_copy(update={"state": settings})
    summary = summarise(week.store, config, made_up_week.WEEK, MADE_AT)
    signed = make_signed(config, made_up_week.WEEK, MADE_AT)
    assert signed.read() == week_of(summary)
    async with receiving(one) as address:
        at = settings.model_copy(update={"url": address.replace("127.0.0.1", "localhost")})
        assert [await send(at, signed), await send(at, signed)] == ["stored", "held"]
    week.store.close()

    table = StateTable(database)
    basis = basis_of(WEEK, MADE_AT, [(d, WEEK, h.signed) for d, h in table.newest(WEEK).items()])
    assert check_rows(one.state, table.rows()) == (1, [])
    table.close()
    made = make_report(one.state, basis, words("en"))
    (tmp_path / made.name).write_bytes(made.content)
    assert check_report(one.state, tmp_path / made.name)[1] == []
    [row] = [r for r in tables(figures_of(WEEK, one.state.districts, {district: signed.read()},
                                          {}))[0].rows if r[1] == district]  # fmt: skip
    able = sum(o.conference.grade is not None and o.conference.grade >= 3 for o in summary.offices)
    assert row[3:5] == (11, able)
    _ask_the_views(database, district, able)


def test_a_promise_is_the_lines_and_a_speed_is_what_it_delivers(tmp_path: Path) -> None:
    """Power failures break no promise, and what an office's own use left over is no delivered
    speed: the state's figures blame an operator for neither.
    """
    made = made_up_week.make(tmp_path, weeks=1, every_minutes=240, troubles=("power", "line"))
    summary = summarise(made.store, made.config, made_up_week.WEEK, MADE_AT)
    made.store.close()
    power, line = week_of(summary).offices
    assert [(one.kept, one.availability is not None and one.availability < one.promised)
            for one in (power, line)] == [(True, True), (False, True)]  # fmt: skip
    assert power.delivered is not None
    inside = [replace(one, down=replace(one.down, quiet=False)) for one in summary.offices]
    left = week_of(replace(summary, offices=tuple(inside))).offices[0]
    assert left.delivered is None and left.tests == power.tests


def _ask_the_views(database: str, district: str, able: int) -> None:
    """What Grafana asks."""
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT d.district, count(*) FILTER (WHERE o.\"group\" = 'able'), min(o.begins)::text"
            " FROM state_districts d LEFT JOIN state_office_weeks o USING (district) GROUP BY 1"
        ).all()
    engine.dispose()
    assert len(found) == 24
    assert [tuple(row) for row in found if row[0] == district] == [(district, able, "2026-11-16")]
    assert [row[1:] for row in found if row[0] == "pakur"] == [(0, None)]


@pytest.mark.server("initdb", "pg_ctl", "pg_dump")
def test_views_of_another_version_are_replaced(tmp_path: Path, postgres: Postgres) -> None:
    """Other columns need a new view, whose readers are kept; unchanged views need no owner."""
    database = postgres.new_database()
    address = database.replace("postgresql:", "postgresql+psycopg:")
    districts = Statewide(tmp_path, database, 3).state.districts
    table = StateTable(database)
    older = {"state_newest_weeks": "SELECT number AS district FROM state_weeks",
             "state_office_weeks": "SELECT district AS id FROM state_newest_weeks"}  # fmt: skip
    metadata.create_all(engine := create_engine(address))
    with engine.begin() as connection:
        make_views(connection, older)
        for account in ("grafana", "receiver"):
            connection.exec_driver_sql(f"CREATE ROLE {account} LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON state_office_weeks TO grafana")
        connection.exec_driver_sql("GRANT SELECT ON state_newest_weeks TO PUBLIC")
    table.prepare(districts)
    with engine.begin() as connection:
        ask = "SELECT has_table_privilege({}, {}, 'SELECT')".format
        views = ["'state_office_weeks'", "'state_newest_weeks'", "'state_weeks'"]
        allowed = [connection.exec_driver_sql(ask("'grafana'", v)).scalar_one() for v in views]
        assert allowed == [True, True, False]
        assert connection.exec_driver_sql("SELECT verdict FROM state_office_weeks").all() == []
        connection.exec_driver_sql("GRANT SELECT, INSERT, DELETE ON state_districts TO receiver")
    engine.dispose()
    table.close()
    receiver = StateTable(database.replace("jharnet@", "receiver@"))
    receiver.prepare(districts)
    with pytest.raises(StoreError, match="must be owner"), writing(receiver._engine) as connection:
        make_views(connection, older)
    receiver.close()


@pytest.fixture
def one(tmp_path: Path) -> Statewide:
    """Three districts and a table in a file."""
    return Statewide(tmp_path, f"sqlite:///{tmp_path / 'state.db'}", 3)


def _changed(signed: SignedWeek, old: str, new: str) -> SignedWeek:
    assert old in signed.body
    return SignedWeek(body=signed.body.replace(old, new, 1), signature=signed.signature)


def _signed_text(one: Statewide, text: str) -> SignedWeek:
    return SignedWeek(body=text, signature=one.sign(drawn_week("chatra")).signature)


def _stranger(one: Statewide) -> SignedWeek:
    make_key(one.key_of("stranger"))
    return one.sign(drawn_week("chatra"), "stranger")


REFUSALS: dict[str, tuple[int, Callable[[Statewide], bytes | SignedWeek]]] = {
    "nothing": (400, lambda _: b""),
    "no week": (400, lambda s: _signed_text(s, '{"a":1}')),
    "deep": (400, lambda _: b'{"body":' + b"[" * 100_000),
    "large": (413, lambda _: b"x" * (2 * MOST_BYTES + 1)),
    "another district's key": (403, lambda s: s.sign(drawn_week("chatra"), "bokaro")),
    "a district that is not expected": (403, lambda s: s.sign(drawn_week("elsewhere"), "bokaro")),
    "a figure changed": (403, lambda s: _changed(s.sign(drawn_week("chatra")), '"calls":12',
                                                 '"calls":13')),
    "a stranger's key": (403, _stranger),
    "from the future": (409, lambda s: s.sign(drawn_week("chatra", made_at=NOW
                                                         + timedelta(hours=1)))),
    "not over": (400, lambda s: _signed_text(
        s, s.sign(drawn_week("chatra")).body.replace("2026-11-23T02", "2026-11-20T02"))),
}  # fmt: skip


async def test_what_a_stranger_sends_is_refused(
    one: Statewide, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line, without storing it, and without what was sent in the log."""
    async with receiving(one) as address:
        for name, (status, make) in REFUSALS.items():
            caplog.clear()
            got, answer = await post(address, make(one), one)
            assert (name, got) == (name, status), answer
            records = [r for r in caplog.records if r.levelno >= logging.WARNING]
            assert len(records) <= 1, name
            assert "Traceback" not in caplog.text
            assert len(caplog.text) < 1000
        assert held(one) == []
        assert (await post(address, one.sign(drawn_week("chatra")), one))[0] == 201


async def open_raw(address: str, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent the given text."""
    host, _, port = address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())
    await writer.drain()
    return reader, writer


def head(length: int, proof: str) -> str:
    """The head of a request that announces a body."""
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{proof}\r\n"


async def test_slow_strangers_keep_no_district_out(
    one: Statewide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a proof no byte of a body is awaited, and a connection is closed soon, whatever it
    has sent; meanwhile, and while another district fills its own places, a district gets in."""
    monkeypatch.setattr(unauthenticated, "GRACE_SECONDS", 1.5)
    monkeypatch.setattr(unauthenticated, "LOOK_SECONDS", 0.1)
    false = Proof("chatra", "0" * 64, "A" * 86 + "==").header()
    own = prove(read_key(one.key_of("bokaro")), "bokaro", b"x" * 50).header()
    async with receiving(one) as address:
        silent = [await open_raw(address, "") for _ in range(10)]
        slow = [await open_raw(address, f"POST {PATH} HTTP/1.1\r\nHost:") for _ in range(10)]
        unproven = [
            await open_raw(address, head(50, proof))
            for proof in ("", f"{HEADER}: {false}\r\n", f"{HEADER}: Signed x\r\n") * 3
        ]
        full = [await open_raw(address, head(50, f"{HEADER}: {own}\r\n")) for _ in range(5)]
        async with asyncio.timeout(5):
            for reader, _ in unproven:
                assert (await reader.readline()).startswith(b"HTTP/1.1 401")
            answers = [await reader.readline() for reader, _ in full[MOST_OF_A_DISTRICT:]]
            assert [answer[9:12] for answer in answers] == [b"429"] * 3
            assert (await post(address, one.sign(drawn_week("chatra")), one))[0] == 201
            for reader, _ in (*silent, *slow, *unproven):
                await reader.read()
        for _, writer in full:
            writer.write(b"y" * 50)
        for reader, _ in full[:MOST_OF_A_DISTRICT]:
            assert (await reader.readline()).startswith(b"HTTP/1.1 400"), "another text"
        for _, writer in (*silent, *slow, *unproven, *full):
            writer.close()


async def test_a_replay_changes_nothing(one: Statewide) -> None:
    """A correction counts from then on; what was made before it comes too late."""
    first = one.sign(drawn_week("chatra"))
    between = one.sign(drawn_week("chatra", made_at=MADE_AT + timedelta(minutes=5), seed=3))
    later = one.sign(drawn_week("chatra", made_at=MADE_AT + timedelta(minutes=10), seed=2))
    async with receiving(one) as address:
        weeks = (first, first, later, first, between)
        answers = [(await post(address, week, one))[0] for week in weeks]
        assert answers == [201, 200, 201, 200, 409]
    assert held(one) == [first.sha256, later.sha256]
    table = StateTable(one.state.database)
    assert table.newest(WEEK)["chatra"].sha256 == later.sha256
    table.close()


def report_of(one: Statewide, directory: Path, language: str, *silent: str) -> Path:
    """A report of two weeks of all districts but the silent ones."""
    rows = [
        (d.id, week, one.sign(drawn_week(d.id, week)))
        for d in one.state.districts
        for week in ("2026-W46", WEEK)
        if d.id not in silent
    ]
    made = make_report(one.state, basis_of(WEEK, MADE_AT, rows), words(language))
    file = directory / made.name
    file.write_bytes(made.content)
    return file


@pytest.mark.parametrize("language", ["hi", "en"])
def test_the_report_has_a_row_for_every_district(language: str, tmp_path: Path) -> None:
    """Two to four pages; a silent district stands there, without a rank and without a 0."""
    state = Statewide(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    file = report_of(state, tmp_path, language, "palamu")
    assert 2 <= len(pypdf.PdfReader(file).pages) <= 4
    text = text_of(file.read_bytes())
    for district in state.state.districts:
        assert plain(district.name_in(language)) in text
    assert plain(words(language)("statewide.nothing")) in text
    assert check_report(state.state, file)[1] == []


def test_a_report_that_was_changed_does_not_follow(
    one: Statewide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure on the paper, a figure in the table, and a week that another key signed."""
    assert check_report(one.state, report_of(one, tmp_path, "en"))[1] == []
    true = paper._change
    monkeypatch.setattr(paper, "_change", lambda _: "+7")
    changed = report_of(one, tmp_path, "en")
    monkeypatch.setattr(paper, "_change", true)
    assert check_report(one.state, changed)[1] == [
        "page 1: differs from what follows from the signed weeks"
    ]
    monkeypatch.setattr(paper, "tables", lambda figures: tables(figures)[::-1])
    [first, second] = tables(figures_of(WEEK, one.state.districts, {}, {}))
    monkeypatch.setattr(paper, "tables", lambda _: (first, second))
    changed = report_of(one, tmp_path, "en")
    monkeypatch.setattr(paper, "tables", tables)
    assert "offices.csv: differs from the signed weeks" in check_report(one.state, changed)[1]
    good = one.sign
    monkeypatch.setattr(one, "sign", lambda week: good(week, "bokaro"))
    forged = report_of(one, tmp_path, "en")
    assert any("chatra: no registered key" in what for what in check_report(one.state, forged)[1])
    (tmp_path / "x.pdf").write_bytes(b"%PDF-1.7 no")
    with pytest.raises(UserError, match=r"x.pdf: is no PDF|is no report"):
        check_report(one.state, tmp_path / "x.pdf")


def test_a_report_with_damaged_pages_is_no_crash(one: Statewide, tmp_path: Path) -> None:
    """The check ended with a traceback of the PDF library."""
    writer = pypdf.PdfWriter(clone_from=report_of(one, tmp_path, "en"))
    writer._root_object[NameObject("/Pages")] = NumberObject(1)
    writer.write(tmp_path / "x.pdf")
    [problem] = check_report(one.state, tmp_path / "x.pdf")[1]
    assert problem.startswith("its pages cannot be read")


def test_a_report_of_another_weeks_figures_is_found(one: Statewide) -> None:
    """A true week of the district, attached as if it were that of the report."""
    old = one.sign(drawn_week("chatra", "2026-W40"))
    basis = basis_of(WEEK, MADE_AT, [("chatra", WEEK, old)])
    assert list(verify._unsigned(one.state, basis)) == [
        "chatra: the signed week is 2026-W40 of chatra"
    ]


async def test_a_row_that_was_changed_is_found(one: Statewide) -> None:
    """Text, time or district of a row, by whoever can write into the table."""
    async with receiving(one) as address:
        for district in ("bokaro", "chatra", "deoghar"):
            assert (await post(address, one.sign(drawn_week(district)), one))[0] == 201
    engine = create_engine(one.state.database)
    with engine.begin() as connection:
        for statement in (
            "UPDATE state_weeks SET body = replace(body, '\"calls\":12', '\"calls\":99')"
            " WHERE district = 'bokaro'",
            "UPDATE state_weeks SET made_at = made_at + 1000 WHERE district = 'chatra'",
            "UPDATE state_weeks SET district = 'chatra' WHERE district = 'deoghar'",
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()
    table = StateTable(one.state.database)
    count, problems = check_rows(one.state, table.rows())
    table.close()
    assert (count, len({what.split(":")[0] for what in problems})) == (3, 3), problems


class Pushes:
    """What a hub's weekly push does, under a clock of the test's own."""

    def __init__(self, directory: Path, *answers: str | Exception) -> None:
        week = made_up_week.make(directory, weeks=1, every_minutes=24 * 60)
        self.store, self.clock = week.store, ManualClock(made_up_week.WEEK.end + timedelta(hours=2))
        settings = StateSettings(url="https://state", key_file=directory / "key")
        config = week.config.model_copy(update={"state": settings})
        self.status, self.pushed = HubStatus(), list[str]()
        self._answers = list(answers)
        self.push = WeeklyPush(
            CurrentConfig(config), self.store, self.clock, self.status, self._answer
        )

    def _answer(self, _config: Any, period: Any, _now: datetime) -> str:
        self.pushed.append(period.name)
        answer = self._answers.pop(0) if self._answers else "stored"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def look(self, **ahead: float) -> list[str]:
        """Let time pass and look once."""
        self.clock.step(timedelta(**ahead).total_seconds())
        asyncio.run(self.push.run_once())
        return self.pushed


def test_a_hub_hands_in_weeks_after_a_clock_that_was_ahead(tmp_path: Path) -> None:
    """It was a year ahead at the first start: no week was due until that time."""
    pushes = Pushes(tmp_path)
    assert pushes.look(days=365) == []
    assert pushes.look(days=-365) == []
    assert pushes.look(hours=6) == ["2026-W47"]
    assert pushes.look(days=7) == ["2026-W47", "2026-W48"]
    pushes.store.close()


def test_a_hub_hands_in_each_week_until_it_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When its report is due; a receiver that is away is tried again, a refusal is said once and
    tried each hour; a week that became due while nobody answered is caught up."""
    pushes = Pushes(tmp_path, StoreError("away"), UserError("refused"), UserError("refused"))
    assert pushes.look() == []  # 02:00; due at 08:00
    assert pushes.look(hours=6) == ["2026-W47"]
    assert len(pushes.look(seconds=10)) == 1
    assert len(pushes.look(hours=2)) == 2
    assert len(pushes.look(minutes=30)) == 2
    assert len(pushes.look(seconds=RETRY_AFTER_REFUSAL.total_seconds())) == 3
    assert (pushes.status.state_push_failures, pushes.status.state_push_at) == (3, None)
    assert [r.message for r in caplog.records].count(
        "the week was not handed in to the state: refused") == 1  # fmt: skip
    assert pushes.look(days=7)[3:] == ["2026-W47", "2026-W48"]
    assert pushes.look(hours=3)[5:] == []
    assert pushes.status.state_push_at is not None
    pushes.store.close()


def test_a_week_that_is_refused_for_good_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once with its reason, also after a restart and as a metric; later weeks go on. A
    hub of another version tries it again."""
    pushes = Pushes(tmp_path, WeekRefusedError("a later version exists"), StoreError("away"))
    assert pushes.look(hours=6) == ["2026-W47"]
    assert pushes.status.state_push_refused == {"2026-W47": "a later version exists"}
    assert "the state refused week 2026-W47 for good: a later version exists" in caplog.text
    assert pushes.look(days=7) == ["2026-W47", "2026-W48"]
    assert pushes.look(hours=1) == ["2026-W47", "2026-W48", "2026-W48"]
    assert pushes.status.state_push_at is not None
    pushes.status.state_push_refused = {}
    pushes.look(hours=3)
    live = Live(pushes.push._current)
    live.hub = pushes.status
    labels = {"week": "2026-W47", "reason": "a later version exists"}
    value = MetricsRegistry(live, pushes.clock).get_sample_value
    assert value("jharnet_state_push_refused", labels) == 1
    assert len(pushes.pushed) == 3
    monkeypatch.setattr(weekly_push, "__version__", "9.9.9")
    assert pushes.look(minutes=1)[3:] == ["2026-W47"]
    assert pushes.look(minutes=1)[4:] == []
    assert pushes.status.state_push_refused == {}
    pushes.store.close()


async def test_the_receiver_says_what_is_for_good(one: Statewide) -> None:
    """A week that is older than the stored one, but not a key that can still be registered."""
    later = drawn_week("chatra", made_at=MADE_AT + timedelta(minutes=5))
    async with receiving(one) as address:
        settings = StateSettings(url=address, key_file=one.key_of("chatra"))
        assert await send(settings, one.sign(later)) == "stored"
        with pytest.raises(WeekRefusedError, match="a later version of week 2026-W47"):
            await send(settings, one.sign(drawn_week("chatra")))
        future = drawn_week("chatra", made_at=NOW + timedelta(hours=1))
        for wrong in (one.sign(drawn_week("bokaro"), "chatra"), one.sign(future)):
            with pytest.raises(UserError) as raised:
                await send(settings, wrong)
            assert not isinstance(raised.value, WeekRefusedError)


async def test_a_receiver_that_does_not_answer_is_named(
    one: Statewide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message ends with the reason."""
    monkeypatch.setattr(push, "SECONDS", 0.5)
    over = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = StateSettings(url=address, key_file=one.key_of("chatra"))
    try:
        with pytest.raises(TemporaryError, match=r"no answer in time$"):
            await send(settings, one.sign(drawn_week("chatra")))
    finally:
        over.set()
        server.close()


def test_the_shipped_file_is_right() -> None:
    """Its districts are the 24 of Jharkhand; a wrong key or a second one is one line."""
    state = load_yaml_model(SHIPPED, StateFile)
    assert len(state.districts) == 24


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"districts": []}, "state.yaml:.*districts: must have at least 1"),
        ({"districts": [{"id": "a", "name": "A", "name_hi": "अ"}] * 2}, "`a` does twice"),
        ({"districts": [{"id": "a", "name": "A", "name_hi": "अ", "keys": ["x"]}]},
         "keys.*must be a public key as"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(change: dict[str, Any], error: str, tmp_path: Path) -> None:
    """With file, line and key."""
    file = tmp_path / "state.yaml"
    file.write_text(json.dumps({"name": "J", "name_hi": "झ", "tls": False, **change}), "utf-8")
    with pytest.raises(UserError, match=error) as raised:
        load_yaml_model(file, StateFile)
    assert "\n" not in str(raised.value)
