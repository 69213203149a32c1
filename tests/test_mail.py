"""The weekly mails: complete, to all recipients, never missed and never sent twice."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

from jharnet_monitor.cli import main
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.mail import message
from jharnet_monitor.mail.message import MailContent
from jharnet_monitor.mail.outbox import LockHeld
from jharnet_monitor.mail.schedule import ReportScheduler, due_at, due_weeks
from jharnet_monitor.mail.weekly import weekly_mails
from jharnet_monitor.model import OfficeState
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.store.mails import MailState
from tests import made_up, made_up_week
from tests.faults.mail import Run, Tally
from tests.made_up_week import MADE_AT, WEEK
from tests.mail_support import DC, DIO, MONDAY, NIC, PASSWORD, USER, MailHost, MailingHub


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHost]:
    """One mail server for all tests of this file."""
    host = MailHost(tmp_path_factory.mktemp("tls"))
    host.start()
    yield host
    host.stop()


@pytest.fixture
def friendly(host: MailHost) -> MailHost:
    """The server with an empty inbox, accepting everything."""
    host.inbox.clear()
    host.on_recipient = host.on_message = lambda recipient: "250 OK"
    return host


@pytest.fixture
def hub(tmp_path: Path, friendly: MailHost) -> MailingHub:
    """A hub that was set up on the Friday before the report is due."""
    return MailingHub(tmp_path, friendly)


def states(
    report_scheduler: ReportScheduler, name: str = WEEK.stem
) -> Sequence[tuple[str, str, int]]:
    """Recipient, state and attempts of a mail."""
    return [
        (m.recipient, m.state.value, m.attempts) for m in report_scheduler._store.mails.of(name)
    ]


def test_the_message_is_complete(tmp_path: Path) -> None:
    """Subject, text and HTML in both languages, images, PDFs and the root."""
    made = made_up_week.make(tmp_path)
    config = made_up_week.config(made.database, to=(DC,), roots_to=(NIC,))
    mailings, files = weekly_mails(made.store, config, WEEK, MADE_AT)
    letter = mailings[0].letter
    assert [one.name for one in files] == [
        f"weekly-2026-W47{part}.{language}.pdf"
        for language in ("hi", "en")
        for part in ("", "-annex")
    ]
    assert "झारनेट साप्ताहिक प्रतिवेदन" in letter.subject
    assert "video conference succeeded at 5 of 11" in letter.subject
    for office in config.offices:
        for text in (letter.text, letter.html):
            assert office.name in text
            assert office.name_hi in text
    for picture in letter.pictures:
        assert picture.content.startswith(b"\x89PNG")
        assert f"cid:{picture.name}" in letter.html
    paper = PdfReader(io.BytesIO(letter.enclosures[2].content))
    assert "Potka" in paper.pages[0].extract_text()
    made.store.close()


def test_the_root_is_mailed_in_both_languages(tmp_path: Path) -> None:
    """The chain's root after the week's last sealed hour, and how to use it."""
    clock = ManualClock(WEEK.start + timedelta(days=3))
    store = Store(f"sqlite:///{tmp_path / 'monitor.db'}", clock)
    store.migrate()
    store.add([made_up.latency("potka", clock.now())])
    clock.step(7200)
    config = made_up_week.config("sqlite:///x", to=(DC,), roots_to=(NIC,))
    mailings, _ = weekly_mails(store, config, WEEK, MADE_AT)
    root = store.chain.root()
    assert root is not None
    letter = mailings[1].letter
    assert (mailings[1].recipients, letter.root) == ((NIC,), root)
    assert letter.text.count(root) == 4
    assert "हैश शृंखला" in letter.text
    assert f"dossier verify FILE.zip --root {root}" in letter.text
    assert root in mailings[0].letter.text
    store.close()


def test_a_mail_reads_back_as_it_was_written() -> None:
    """Hindi in subject and body, lines within the limit, no 8-bit bytes, inline images."""
    letter = MailContent("साप्ताहिक प्रतिवेदन", "पोटका\n", "<p>पोटका <img src='cid:a'></p>",
                    (message.InlineImage("a", b"\x89PNG"),),
                    (message.Enclosure("w.pdf", "application/pdf", b"%PDF" * 999),))  # fmt: skip
    raw = message.compose(letter, "<x@y>", "jhn@hub.in", [DC, DIO], MADE_AT)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parsed = message_from_bytes(raw, policy=policy.default)
    assert (parsed["Subject"], parsed["Message-ID"]) == (letter.subject, "<x@y>")
    kinds = [part.get_content_type() for part in parsed.walk()]
    assert kinds == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related",
        "text/html", "image/png", "application/pdf",
    ]  # fmt: skip
    body = parsed.get_body(("plain",))
    assert body is not None
    assert body.get_content().split() == ["पोटका"]


def test_message_ids_follow_from_week_and_recipients() -> None:
    """The same in any order of recipients; another for another week or other recipients."""
    one = message.message_id("weekly-2026-W47", [DC, DIO], "jhn@hub.in")
    assert one == message.message_id("weekly-2026-W47", [DIO, DC, DIO], "jhn@hub.in")
    assert one.endswith("@hub.in>")
    assert len({one, message.message_id("weekly-2026-W48", [DC, DIO], "jhn@hub.in"),
                message.message_id("weekly-2026-W47", [DC], "jhn@hub.in")}) == 3  # fmt: skip


def test_a_week_is_due_on_the_configured_day(hub: MailingHub) -> None:
    """Monday 08:00 IST by default; no report from before the hub was set up."""
    config = hub.config()
    assert due_at(WEEK, config).isoformat() == "2026-11-23T08:00:00+05:30"
    wednesday = config.model_copy(
        update={"report": config.report.model_copy(update={"day": "wed", "at": "17:30"})}
    )
    assert due_at(WEEK, wednesday).isoformat() == "2026-11-25T17:30:00+05:30"
    setup = MONDAY - timedelta(days=3)
    assert due_weeks(config, setup, MONDAY - timedelta(seconds=1)) == []
    assert due_weeks(config, setup, MONDAY) == [WEEK]
    later = MONDAY + timedelta(days=15)
    assert [w.name for w in due_weeks(config, setup, later)] == ["2026-W47", "2026-W48", "2026-W49"]


async def test_everyone_gets_the_report_once_on_monday(hub: MailingHub) -> None:
    """Over TLS with a login, one message per recipient, one Message-ID; then never again."""
    report_scheduler = hub.start()
    await report_scheduler.run_once()
    assert hub.made == []
    hub.clock.step(3 * 86400)
    for _ in range(3):
        await report_scheduler.run_once()
    again = hub.start()
    await again.run_once(ignore_backoff=True)
    assert [one.recipient for one in hub.host.inbox] == [NIC, DC, DIO]
    assert len({one.identity for one in hub.host.inbox if one.recipient != NIC}) == 1
    assert hub.host.of(DC)[0].message["To"] == f"{DC}, {DIO}"
    assert hub.made == ["2026-W47"]
    assert (hub.directory / "reports" / "weekly-2026-W47.en.pdf").read_bytes() == b"%PDF"
    assert (hub.health.report_due, hub.health.report_last_sent) == (MONDAY, MONDAY)
    assert hub.health.report_failures == 0


async def test_reports_due_while_the_hub_was_down_are_caught_up(hub: MailingHub) -> None:
    """Down over two Mondays: both weeks are made and sent at the start, oldest first."""
    await hub.start().run_once(ignore_backoff=True)
    hub.clock.step(14 * 86400)
    await hub.start().run_once(ignore_backoff=True)
    assert [one.message["Subject"] for one in hub.host.of(DC)] == [
        "Report 2026-W47", "Report 2026-W48",
    ]  # fmt: skip


@pytest.mark.parametrize("days", [-2000, 365])
async def test_a_clock_that_was_wrong_at_the_first_start(hub: MailingHub, days: int) -> None:
    """Ahead: no report came until that time. Behind, at a later start: none is made of weeks from
    before the first start."""
    hub.clock.step(max(days, 0) * 86400)
    await hub.start().run_once()
    hub.clock.step(-abs(days) * 86400)
    await hub.start().run_once()
    hub.clock.step(-min(days, 0) * 86400)
    for _ in range(10):
        await hub.start().run_once()
        hub.clock.step(86400)
    assert hub.made == ["2026-W47"]
    assert len(hub.host.of(DC)) == 1


async def test_a_report_made_before_its_week_was_over_is_made_again(hub: MailingHub) -> None:
    """The clock was a week ahead for a minute: that week's report, of one day, remained the only
    one. The true one is sent to everyone when it is due, once, and it alone counts as sent."""
    hub.clock.step(3 * 86400)  # Monday: that of the week before
    await hub.start().run_once()
    hub.clock.step(86400 + 7 * 86400)
    await hub.start().run_once()
    assert hub.made == ["2026-W47", "2026-W48"]
    hub.clock.step(-7 * 86400)
    for _ in range(14):
        await hub.start().run_once()
        if len(hub.made) == 2:
            assert hub.health.report_last_sent == MONDAY
        hub.clock.step(86400)
    assert hub.made == ["2026-W47", "2026-W48", "2026-W48", "2026-W49"]
    assert [len(hub.host.of(one)) for one in (DC, DIO, NIC)] == [4, 4, 4]
    assert len({one.identity for one in hub.host.of(DC)}) == 4
    report_scheduler = hub.start()
    week = WEEK.end.date()
    assert states(report_scheduler, f"weekly-{week:%G-W%V}-2") == [
        (DC, "accepted", 1), (DIO, "accepted", 1),
    ]  # fmt: skip


async def test_an_unreachable_server_is_tried_again_with_backoff(hub: MailingHub) -> None:
    """Unreachable for an hour: every failure is counted, and the mail is sent in the end."""
    report_scheduler = hub.start()
    await report_scheduler.run_once()
    hub.clock.step(3 * 86400)
    hub.host.stop()
    try:
        for _ in range(120):
            await report_scheduler.run_once()
            hub.clock.step(30)
        attempts = states(report_scheduler)[0][2]
        assert 5 <= attempts <= 8
        assert hub.health.report_failures == 3 * attempts
        assert "127.0.0.1" in (report_scheduler._store.mails.of(WEEK.stem)[0].error or "")
        assert hub.health.report_last_sent is None
    finally:
        hub.host.start()
    hub.clock.step(3600)
    await report_scheduler.run_once()
    assert states(report_scheduler) == [
        (DC, "accepted", attempts + 1),
        (DIO, "accepted", attempts + 1),
    ]
    assert len(hub.host.inbox) == 3


@pytest.mark.parametrize("stage", ["on_recipient", "on_message"])
async def test_a_refusal_concerns_one_recipient(hub: MailingHub, stage: str) -> None:
    """4xx is tried again soon, 5xx rarely; the others get their mail once."""
    answers = {DC: "451 try later", DIO: "550 no such user"}
    setattr(hub.host, stage, lambda recipient: answers.get(recipient, "250 OK"))
    report_scheduler = hub.start()
    await report_scheduler.run_once()
    hub.clock.step(3 * 86400)
    await report_scheduler.run_once()
    assert states(report_scheduler) == [(DC, "prepared", 1), (DIO, "refused", 1)]
    answers.clear()
    hub.clock.step(61)
    await report_scheduler.run_once()
    assert states(report_scheduler) == [(DC, "accepted", 2), (DIO, "refused", 1)]
    hub.clock.step(86400)
    await report_scheduler.run_once()
    assert states(report_scheduler) == [(DC, "accepted", 2), (DIO, "accepted", 2)]
    assert [len(hub.host.of(one)) for one in (DC, DIO, NIC)] == [1, 1, 1]


async def test_a_log_that_cannot_be_written_repeats_nothing(
    hub: MailingHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up between the 250 reply and the commit: only the commit is repeated."""
    report_scheduler = hub.start()
    await report_scheduler.run_once()
    hub.clock.step(3 * 86400)
    mails = report_scheduler._store.mails
    write = mails.accepted

    def full(delivery: object) -> None:
        raise StoreError("database or disk is full")

    monkeypatch.setattr(mails, "accepted", full)
    for _ in range(3):
        with pytest.raises(StoreError):
            await report_scheduler.run_once()
    monkeypatch.setattr(mails, "accepted", write)
    await report_scheduler.run_once(ignore_backoff=True)
    assert {m.state for m in mails.of(WEEK.stem)} == {MailState.ACCEPTED}
    assert [len(hub.host.of(one)) for one in (DC, DIO, NIC)] == [1, 1, 1]


async def test_a_report_that_cannot_be_made_is_made_later(hub: MailingHub) -> None:
    """A full disk or a broken template is counted and tried again with backoff; nothing is sent."""
    report_scheduler = hub.start()
    await report_scheduler.run_once()
    hub.clock.step(3 * 86400)
    hub.trouble = UserError("reports: cannot be written: No space left on device")
    for _ in range(4):
        await report_scheduler.run_once()
        hub.clock.step(30)
    assert hub.health.report_failures == 2
    hub.clock.step(-90)  # a clock that was set back delays nothing
    await report_scheduler.run_once()
    assert hub.health.report_failures == 3
    assert hub.host.inbox == []
    hub.trouble = None
    hub.clock.step(300)
    await report_scheduler.run_once()
    assert len(hub.host.inbox) == 3


async def test_new_recipients_get_later_reports(hub: MailingHub) -> None:
    """The recipients of a report are fixed when it is made; a new one causes no repeat."""
    await hub.start().run_once()
    hub.clock.step(3 * 86400)
    await hub.start().run_once()
    hub.to = (DC, DIO, "new@example.in")
    await hub.start().run_once()
    assert hub.host.of("new@example.in") == []
    hub.clock.step(7 * 86400)
    await hub.start().run_once()
    assert [len(hub.host.of(one)) for one in hub.to] == [2, 2, 1]


async def test_only_one_process_sends_at_a_time(hub: MailingHub) -> None:
    """`report send` fails while the hub is sending."""
    with hub.start().outbox.lock(), pytest.raises(LockHeld), hub.start().outbox.lock():
        pass


async def test_an_untrusted_server_gets_no_password(hub: MailingHub) -> None:
    """With a certificate of another authority there is no login, no mail, and a clear error."""
    config = hub.config()
    assert config.report.smtp is not None
    smtp = config.report.smtp.model_copy(update={"ca": None})
    report = config.report.model_copy(update={"smtp": smtp})
    report_scheduler = hub.start()
    report_scheduler._current.replace(config.model_copy(update={"report": report}))
    await report_scheduler.run_once()
    hub.clock.step(3 * 86400)
    await report_scheduler.run_once()
    assert hub.host.inbox == []
    assert "certificate" in (report_scheduler._store.mails.of(WEEK.stem)[0].error or "").lower()


def test_report_send_by_hand(
    tmp_path: Path, friendly: MailHost, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A dry run sends nothing, sending does so once, and an unfinished week is an error."""
    made = made_up_week.make(tmp_path)
    made.store.event_log.add_transition("potka", OfficeState.UP, WEEK.start, {})
    made.store.close()
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    data = made_up_week.config(made.database).model_dump(
        mode="json", by_alias=True, include={"district": {"id", "name", "name_hi"}}
    )
    data["hub"] = {"tls": "off", "uplink": {"contracted": "34 Mbit/s"}, "database": made.database}
    data["offices"] = [{"id": "potka", "name": "Potka", "name_hi": "पोटका", "router": "10.8.3.1"}]
    data["report"] = {
        "to": [DC], "directory": "reports",
        "smtp": {"host": "127.0.0.1", "port": friendly.port, "user": USER, "from": "jhn@hub.in",
                 "password_file": "password", "ca": str(friendly.ca)},
    }  # fmt: skip
    (tmp_path / "jharnet.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")

    def send(*arguments: str) -> tuple[int, str]:
        config = str(tmp_path / "jharnet.yaml")
        monkeypatch.setattr(sys, "argv", ["", "report", "send", *arguments, "--config", config])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out + err

    code, output = send("--week", "2020-W47", "--dry-run")
    assert (code, "nothing was sent" in output, friendly.inbox) == (0, True, [])
    assert "Message-ID" in output
    assert send("--week", "2020-W47")[0] == 0
    assert send("--week", "2020-W47")[0] == 0
    assert [one.recipient for one in friendly.inbox] == [DC]
    code, output = send("--week", "2099-W01")
    assert (code, "is not over yet" in output) == (2, True)
    friendly.on_message = lambda recipient: "554 too large"
    code, output = send("--week", "2020-W48")
    assert (code, "554" in output) == (1, True)


def test_a_kill_between_the_250_and_the_commit_repeats_only_that_mail(
    tmp_path: Path, friendly: MailHost
) -> None:
    """Killed with SIGKILL: one repeat with the same Message-ID, and nothing is missed."""
    kind = "between the 250 and the commit"
    tally = Tally()
    Run(tmp_path / "run", friendly, random.Random(1), kind, tally, kills=1).go()
    assert (tally.deaths[kind], tally.repeats) == (1, 1)
    assert (tally.missed, tally.second_identities, tally.unowed) == (0, 0, 0)
