"""Named accounts: the file, the commands, sign-in by password, roles, and who did what."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.cli import main
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES, words
from jharnet_monitor.security import accounts
from jharnet_monitor.security.accounts import (
    Account,
    Role,
    has_password,
    make_account,
    read_accounts,
    without_sessions,
    write_accounts,
)
from jharnet_monitor.security.tokens import hash_token, write_secret
from jharnet_monitor.store import Store
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.web.auth import (
    ACCOUNT_FAILURES,
    ACCOUNT_SECONDS,
    COOKIE,
    FAILURES_A_MINUTE,
)
from tests.made_up import config
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, CHANGES, TOKEN, Client, page

PASSWORD = "correct horse battery"
ADDED = "2026-11-25T00:00:00Z"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that cost nothing; one test uses the real ones."""
    monkeypatch.setattr(accounts, "_COST", 2)
    yield


def test_a_password_is_hashed_slowly_and_with_a_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with N = 2^15, r = 8, p = 3 (RFC 7914), of 32 MB."""
    monkeypatch.undo()
    assert (accounts._COST, accounts._BLOCK, accounts._PARALLEL) == (2**15, 8, 3)
    one = make_account("ravi", Role.OPERATE, PASSWORD, ADDED)
    assert PASSWORD not in repr(one)
    assert has_password(one, PASSWORD)
    assert not has_password(one, PASSWORD + "x")


@pytest.mark.parametrize(
    ("name", "password", "why"),
    [
        ("Ravi K", PASSWORD, "small letters"),
        ("", PASSWORD, "small letters"),
        ("../x", PASSWORD, "small letters"),
        ("ravi", "short", "12 to 200 characters"),
        ("ravi", "ravi12345678", "must not contain"),
    ],
)
def test_a_weak_account_is_refused(name: str, password: str, why: str) -> None:
    """The message says what would be right."""
    with pytest.raises(UserError, match=why):
        make_account(name, Role.READ, password, ADDED)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"accounts": [{}]}', '{"accounts": [1]}', '{"accounts": [{"name": 1}]}'],
)
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    """One line with the file's name and the remedy; half a file admits nobody."""
    path = tmp_path / "accounts"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UserError, match=r"accounts: is not a file of accounts .* account add"):
        read_accounts(path)
    path.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        read_accounts(path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a command; returns its exit code."""
    monkeypatch.setattr("sys.argv", ["jharnet-monitor", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


HUB = (
    "district: {id: d, name: D, name_hi: डी}\n"
    "hub: {tls: off, accounts_file: secrets/accounts, uplink: {contracted: 34 Mbit/s}}\n"
    "offices: [{id: potka, name: Potka, name_hi: पोटका, pc: 10.8.3.10}]\n"
)


def test_an_account_that_was_ended_meanwhile_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever adds one may take minutes to enter the password; others are ended in that time."""
    path = tmp_path / "jharnet.yaml"
    path.write_text(HUB)
    where = ("--config", str(path))
    assert run(monkeypatch, "account", "add", "left.the.office", "--generate", *where) == 0

    def enter(_: str) -> str:
        if "left.the.office" in read_accounts(tmp_path / "secrets/accounts"):
            assert run(monkeypatch, "account", "end", "left.the.office", *where) == 0
        return PASSWORD

    monkeypatch.setattr("getpass.getpass", enter)
    monkeypatch.setattr("jharnet_monitor.commands.account._has_terminal", lambda: True)
    assert run(monkeypatch, "account", "add", "ravi", *where) == 0
    assert list(read_accounts(tmp_path / "secrets/accounts")) == ["ravi"]


def test_accounts_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    """Four commands at once, of which each reads the file and writes it; there is none before."""
    path = tmp_path / "jharnet.yaml"
    path.write_text(HUB)
    command = (sys.executable, "-m", "jharnet_monitor", "account", "add", "--generate")
    names = ["ravi", "meena", "arjun", "sita"]
    adding = [
        subprocess.Popen([*command, name, "--config", str(path)], stdout=subprocess.DEVNULL)
        for name in names
    ]
    assert [one.wait(60) for one in adding] == [0] * len(names)
    assert sorted(read_accounts(tmp_path / "secrets/accounts")) == sorted(names)


def test_the_commands_add_list_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is recorded in the event log of the hub's database, and the chain covers it."""
    path = tmp_path / "jharnet.yaml"
    path.write_text(HUB)
    store = Store(f"sqlite:///{tmp_path}/monitor.db", SystemClock())
    store.migrate()
    where = ("--config", str(path))
    assert run(monkeypatch, "account", "add", "ravi", "--generate", *where) == 0
    password = capsys.readouterr().out.split()[1]
    known = read_accounts(tmp_path / "secrets/accounts")
    assert has_password(known["ravi"], password)
    assert (tmp_path / "secrets/accounts").stat().st_mode & 0o777 == 0o600
    assert run(monkeypatch, "account", "add", "ravi", "--generate", *where) == 2
    assert "already; give --force" in capsys.readouterr().err
    assert run(monkeypatch, "account", "add", "x", "--generate", "--role", "all", *where) == 2
    assert "must be read, operate, administer" in capsys.readouterr().err
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    monkeypatch.setattr("jharnet_monitor.commands.account._has_terminal", lambda: True)
    assert run(monkeypatch, "account", "add", "ravi", "--force", "--role", "read", *where) == 0
    assert run(monkeypatch, "account", "end", "ravi", "--sessions", *where) == 0
    capsys.readouterr()
    assert run(monkeypatch, "account", "list", "--json", *where) == 0
    assert json.loads(capsys.readouterr().out)[0]["role"] == "read"
    assert run(monkeypatch, "account", "list", *where) == 0
    assert " IST" in capsys.readouterr().out
    assert run(monkeypatch, "account", "end", "ravi", *where) == 0
    assert read_accounts(tmp_path / "secrets/accounts") == {}
    assert run(monkeypatch, "account", "end", "ravi", *where) == 2
    events = store.event_log.events(OF_PEOPLE)
    message = [(Act.of(event).what, Act.of(event).about["account"]) for event in events]
    assert message == [
        ("account added", "ravi"), ("account added", "ravi"), ("sessions ended", "ravi"),
        ("account ended", "ravi"),
    ]  # fmt: skip
    assert all(event.kind == ACT for event in events)
    assert password not in repr(events)
    store.close()


@pytest.fixture
def people(hub: MadeUpHub) -> Path:
    """Three accounts, one in each role, with the same password."""
    token_file = hub.config.hub.api_token_file
    assert token_file is not None
    path = token_file.with_name("accounts")
    write_accounts(
        path,
        {role.value: make_account(f"a.{role}", role, PASSWORD, ADDED) for role in Role},
    )
    hub.live._current.replace(config(11, api_token_file=str(token_file), accounts_file=str(path)))
    return path


def change(path: Path, name: str, **fields: Any) -> None:
    """Change an account as the commands do: one that is changed to None is ended."""
    known = read_accounts(path)
    if not fields:
        del known[name]
    else:
        values = {key: getattr(known[name], key) for key in Account.__slots__}
        known[name] = Account(**{**values, **fields})
    write_accounts(path, known)


async def sign_in(client: Client, name: str, password: str = PASSWORD) -> int:
    """Sign in by the form; returns the status."""
    origin = {"Origin": str(client.make_url("/").origin())}
    answer = await client.post(
        "/signin", data={"name": name, "token": password}, headers=origin, allow_redirects=False
    )
    return answer.status


async def post(client: Client, path: str, **options: Any) -> int:
    """Post as a browser does; returns the status."""
    origin = {"Origin": str(client.make_url("/").origin())}
    answer = await client.post(path, headers=origin, allow_redirects=False, **options)
    return answer.status


async def test_what_each_role_may(client: Client, hub: MadeUpHub, people: Path) -> None:
    """`read` changes nothing, `operate` all but the configuration, `administer` everything."""
    window = {"from": "2027-01-01T00:00Z", "to": "2027-01-01T01:00Z"}
    fault = {"office": "potka", "docket": "JH/1", "to": "NOC"}
    bodies = {"/api/v1/maintenance": window, "/api/v1/faults": fault}
    for role in Role:
        hub.requested.clear()
        assert await sign_in(client, f"a.{role}") == 303
        for path in CHANGES:
            status = await post(client, path, json=bodies.get(path, {}))
            needed = Role.ADMINISTER if "reload" in path else Role.OPERATE
            assert (status != 403) == role.allows(needed), (role, path, status)
            assert status < 500
        assert (role is Role.READ) == (hub.requested == [])
    assert "Your account may read" not in await page(client, "/office/potka")
    await sign_in(client, "a.read")
    assert "Your account may read" in await page(client, "/office/potka")


async def test_an_update_and_an_enrolment_are_acts_in_the_readers_words(
    client: Client, hub: MadeUpHub, people: Path
) -> None:
    """The page named them by their keys, an offer to all offices by "None", and gave UTC."""
    for what, about in (
        ("update", {"version": None, "offices": None}),
        ("update", {"version": "1.2", "offices": ["potka"]}),
        ("release published", {"version": "1.2", "serial": 7}),
        ("enrolment made", {"office": "potka", "expires": "2027-01-01T00:00:00Z"}),
        ("enrol", {"office": "potka"}),
    ):
        await hub.record_act(Act(what, "user deepak", "127.0.0.1", about))
    await sign_in(client, "a.administer")
    text = await page(client, "/account")
    for shown in ("no version · all offices", "1.2 · Potka", "Offer of an update", "05:30"):
        assert shown in text
    assert "None" not in text and "enrolment made" not in text and "00:00:00Z" not in text


async def test_who_did_what_is_recorded(
    client: Client, hub: MadeUpHub, people: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, address and what it was about; administrators see it, others do not."""
    caplog.set_level(logging.INFO)
    await sign_in(client, "a.operate")
    await post(client, "/api/v1/offices/potka/probes/latency")
    await post(client, "/api/v1/drills", json={"minutes": 1})
    window = {"from": "2027-01-01T00:00Z", "to": "2027-01-01T01:00Z", "reason": "new switch"}
    await post(client, "/api/v1/maintenance", json=window)
    assert "Who did what" not in await page(client, "/account")
    user = {"Jharnet-User": "deepak"}
    await client.post("/-/reload", headers=BEARER | user)
    message = [(act.what, act.by) for act in hub.acts]
    assert message == [
        ("signed in", "account a.operate"),
        ("probe", "account a.operate"),
        ("drill", "account a.operate"),
        ("maintenance", "account a.operate"),
        ("reload", "API token (user deepak)"),
    ]
    assert hub.acts[1].about == {"office": "potka", "probe": "latency"}
    assert {act.from_ for act in hub.acts} == {"127.0.0.1"}
    await sign_in(client, "a.administer")
    text = await page(client, "/account")
    assert "Access token (user deepak)" in text
    assert "Potka · Latency" in text
    assert "HD video (720p) · 1 min" in text
    assert "all offices · 01.01.2027, 05:30 · 01.01.2027, 06:30 · new switch" in text
    assert hub.store.event_log.events("potka") == [], "they are no evidence on the line"


async def test_acts_are_in_the_readers_language_and_time(
    client: Client, hub: MadeUpHub, people: Path
) -> None:
    """Neither keys nor UTC."""
    log, now = hub.store.event_log, hub.clock.now()
    expires = {"office": "potka", "expires": "2026-12-17T06:30:00.000Z"}
    every = (
        Act("enrolment made", "user ravi", "this machine", expires),
        Act("enrol", "one-time code", "10.8.0.5", {"office": "potka", "code_by": "user ravi"}),
        Act("report made", "API token", "10.8.0.5", {"paper": "dossier"}),
        Act("drill", "account ravi", "10.8.0.5", {"profile": "audio", "minutes": 5}),
        Act("update", "account ravi", "10.8.0.5", {"version": "1.2", "offices": ["potka"]}),
        Act("update", "account ravi", "10.8.0.5", {"version": None, "offices": None}),
    )
    for act in every:
        log.add_event(OF_PEOPLE, ACT, now, act.to_json())
    await sign_in(client, "a.administer")
    text = (await page(client, "/account", "hi")).partition("किसने क्या किया")[2]
    for shown in ("17.12., 12:00", "हब का कंप्यूटर", "एक्सेस टोकन", "साक्ष्य-संचिका",
                  "केवल ऑडियो · 5 मि", "1.2 · पोटका", "कोई संस्करण नहीं"):  # fmt: skip
        assert shown in text, shown
    for key in ("enrol", "update", "2026-12-17", "this machine", "API", "one-time", "None"):
        assert key not in text, key


def test_every_act_has_words() -> None:
    """The page on accounts shows what anybody does in the reader's language."""
    source = "\n".join(
        path.read_text("utf-8") for path in Path(accounts.__file__).parents[1].rglob("*.py")
    )
    found = set(
        re.findall(r'(?:\.act\(\s*request, actor|\bAct\(|record_act\(\w+), "([^"]+)"', source)
    ) | set(re.findall(r'\bAct\("([^"]+)"', source))
    assert {"enrol", "enrolment made", "update", "report made"} <= found
    for language in LANGUAGES:
        assert [one for one in found if f"web.act.{one}" not in words(language)] == []


async def test_acts_are_part_of_the_chain(hub: MadeUpHub) -> None:
    """Changed afterwards, one is found."""
    act = Act("probe", "account ravi", "10.8.0.5", {"office": "potka"})
    await hub.record_act(act)
    await hub.clock.advance(2 * 3600)
    hub.store.chain.seal()
    assert hub.store.chain.verify() == []
    with hub.store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET data = replace(data, 'ravi', 'deep')")
    assert hub.store.chain.verify() != []
    hub.store.close()


@pytest.mark.parametrize("how", ["password", "sessions", "ended"])
async def test_sessions_end_with_the_account(client: Client, people: Path, how: str) -> None:
    """A new password, or `account end` with or without `--sessions`: at once, without a restart;
    the sessions of others continue."""
    await sign_in(client, "a.operate")
    assert await post(client, "/api/v1/drills", json={"minutes": 1}) == 202
    if how == "password":
        again = make_account("a.operate", Role.OPERATE, PASSWORD + "2", ADDED)
        change(people, "a.operate", password=again.password, session_key=again.session_key)
    elif how == "sessions":
        key = without_sessions(read_accounts(people)["a.operate"]).session_key
        change(people, "a.operate", session_key=key)
    else:
        change(people, "a.operate")
    assert await post(client, "/api/v1/drills", json={"minutes": 1}) == 401
    assert (await sign_in(client, "a.operate") == 303) == (how == "sessions")


async def test_sessions_outlast_a_file_that_cannot_be_read(client: Client, people: Path) -> None:
    """Meanwhile the hub answers 503, to a sign-in as well, and shows its open pages."""
    await sign_in(client, "a.operate")
    await asyncio.to_thread(people.chmod, 0o644)
    assert await post(client, "/api/v1/drills", json={"minutes": 1}) == 503
    assert "/signout" not in await page(client, "/")
    assert await sign_in(client, "a.read") == 503
    await asyncio.to_thread(people.chmod, 0o600)
    assert await post(client, "/api/v1/drills", json={"minutes": 1}) == 202


async def test_a_session_is_ended_while_accounts_cannot_be_read(
    client: Client, people: Path
) -> None:
    """A sign-out ends it, so that a copy of its cookie does not work later."""
    await sign_in(client, "a.read")
    kept = next(one for one in client.session.cookie_jar if one.key == COOKIE)
    copy = {"Cookie": f"{kept.key}={kept.value}"}
    await asyncio.to_thread(people.chmod, 0o644)
    assert await post(client, "/signout") == 303
    await asyncio.to_thread(people.chmod, 0o600)
    assert (await client.get("/account", headers=copy)).status == 401


async def test_one_session_is_ended_by_its_owner_or_an_administrator(
    client: Client, people: Path
) -> None:
    """Others cannot, and do not see it."""
    await sign_in(client, "a.read")
    text = await page(client, "/account")
    mine = text.split("/account/sessions/")[1].split("/")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as other:
        origin = {"Origin": str(client.make_url("/").origin())}
        form = {"name": "a.operate", "token": PASSWORD}
        await other.post(client.make_url("/signin"), data=form, headers=origin)
        text = await (await other.get(client.make_url("/account"))).text()
        assert mine not in text
        end = client.make_url(f"/account/sessions/{mine}/end")
        assert (await other.post(end, headers=origin)).status == 404
        assert (await other.post(end, headers={"Origin": "http://evil.example"})).status == 403
        form = {"name": "a.administer", "token": PASSWORD}
        await other.post(client.make_url("/signin"), data=form, headers=origin)
        assert (await other.post(end, headers=origin)).status == 200
    assert (await client.get("/account")).status == 401


async def test_wrong_passwords_are_limited_by_address_and_account(
    client: Client, hub: MadeUpHub, people: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten a minute from an address, ten in ten minutes for an account from any address; an account
    that does not exist is answered like one that does."""
    assert [await sign_in(client, "nobody", "x" * 12) for _ in range(FAILURES_A_MINUTE + 1)] == [
        *[401] * FAILURES_A_MINUTE, 429,
    ]  # fmt: skip
    assert await sign_in(client, "a.read") == 429
    await hub.clock.advance(61)
    assert await sign_in(client, "a.read") == 303
    for _ in range(ACCOUNT_FAILURES):
        await hub.clock.advance(10)  # never ten a minute
        assert await sign_in(client, "a.operate", "wrong") == 401
    assert await sign_in(client, "a.operate") == 429
    assert await sign_in(client, "a.read") == 303
    minutes = {"en": "wait ten minutes", "hi": "दस मिनट प्रतीक्षा करें"}
    assert ACCOUNT_SECONDS == 600
    for language, shown in minutes.items():
        assert shown in words(language)("web.error.429")
    await hub.clock.advance(ACCOUNT_SECONDS + 1)
    assert await sign_in(client, "a.operate") == 303
    assert PASSWORD not in caplog.text
    assert "refused a sign-in of 'a.operate' from 127.0.0.1" in caplog.text


async def test_the_token_still_signs_in(client: Client, people: Path) -> None:
    """With no name; commands and programs send it as bearer."""
    assert "leaves the name empty" in await page(client, "/signin")
    assert await sign_in(client, "", TOKEN) == 303
    assert await post(client, "/-/reload") == 200
    assert await sign_in(client, "a.read", TOKEN) == 401


@pytest.fixture
async def closed(hub: MadeUpHub, people: Path, client: Client) -> AsyncIterator[Client]:
    """A hub that only accounts may read."""
    current = hub.live._current
    assert current.config.hub.api_token_file is not None
    current.replace(
        config(
            11,
            api_token_file=str(current.config.hub.api_token_file),
            accounts_file=str(people),
            reading="accounts",
        )
    )
    yield client


async def test_reading_may_need_an_account(closed: Client) -> None:
    """Pages lead to the sign-in, the API says 401; offices still join, Prometheus on this machine
    still reads, the health checks still answer."""
    for path in ("/", "/office/potka", "/reports", "/help/", "/nothing"):
        answer = await closed.get(path, allow_redirects=False)
        assert answer.status == 303
        assert answer.headers["Location"] == f"/signin?next={path}"
        assert (await closed.head(path, allow_redirects=False)).status == 303
    for path in ("/api/v1/offices", "/api/v1/measurements", "/api/v1/openapi.json"):
        assert (await closed.get(path)).status == 401
        assert (await closed.get(path, headers=BEARER)).status == 200
    proxied = await closed.get("/metrics", headers={"X-Forwarded-For": "203.0.113.5"})
    assert proxied.status == 401  # a proxy on this machine is not this machine
    for path in ("/metrics", "/-/healthy", "/-/ready", "/join/potka", "/signin"):
        assert (await closed.get(path)).status == 200, path
    await sign_in(closed, "a.read")
    assert (await closed.get("/api/v1/offices")).status == 200
    assert "Potka" in await page(closed, "/")


async def test_the_sign_in_leads_back_to_the_whole_address(closed: Client) -> None:
    """With its query, as it was escaped."""
    address = "/faults?office=potka&note=50%25%20off"
    answer = await closed.get(address, allow_redirects=False)
    form = await closed.get(answer.headers["Location"])
    field = re.search('name="next" value="([^"]*)"', await form.text())
    assert field is not None
    data = {"name": "a.read", "token": PASSWORD, "next": html.unescape(field[1])}
    origin = {"Origin": str(closed.make_url("/").origin())}
    back = await closed.post("/signin", data=data, headers=origin, allow_redirects=False)
    assert back.headers["Location"] == address


async def test_a_link_without_its_token_does_not_show_how_an_office_is(
    closed: Client, hub: MadeUpHub, tmp_path: Path
) -> None:
    """Where reading needs an account: the office's page shows it with the office's token."""
    current = hub.live._current
    office, *others = current.config.offices
    assert office.agent is not None
    write_secret(tmp_path / "hash", hash_token("own"))
    agent = office.agent.model_copy(update={"token_hash_file": tmp_path / "hash"})
    offices = (office.model_copy(update={"agent": agent}), *others)
    current.replace(current.config.model_copy(update={"offices": offices}))

    async def shown(token: str | None = None) -> bool:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = await closed.get(f"/join/{office.id}", headers=headers)
        text = await answer.text()
        assert answer.status == 200 and 'id="go"' in text
        return 'class="grade' in text or 'class="readiness' in text

    assert not await shown() and not await shown("wrong") and not await shown("\udcff")
    assert await shown("own")
    await sign_in(closed, "a.read")
    assert await shown()


async def test_sign_ins_at_once_are_checked_one_by_one(
    client: Client, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 32 MB: they must not all take it at the same time, and too many are refused."""
    running, most = 0, 0

    def slow(account: Account | None, given: str) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run(asyncio.sleep(0.02))
        running -= 1
        return False

    monkeypatch.setattr("jharnet_monitor.web.auth.has_password", slow)
    found = await asyncio.gather(*(sign_in(client, f"x{n}", "y") for n in range(12)))
    assert most == 1
    assert sorted(set(found)) == [401, 503]
