"""Signed-in browsers over a restart of the hub: who stays, who does not, what the file tells."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer

from jharnet_monitor.errors import UserError
from jharnet_monitor.security import accounts
from jharnet_monitor.security.accounts import Role, make_account, read_accounts, without_sessions
from jharnet_monitor.security.tokens import hash_token
from jharnet_monitor.web import make_app, sessions
from jharnet_monitor.web.auth import COOKIE
from tests.made_up_hub import MadeUpHub
from tests.test_accounts import ADDED, PASSWORD, change, people
from tests.web_support import TOKEN, Client

__all__ = ["people"]


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that cost nothing."""
    monkeypatch.setattr(accounts, "_COST", 2)
    yield


@asynccontextmanager
async def run(hub: MadeUpHub) -> AsyncIterator[Client]:
    """The hub's pages from a start to the next; the cookies are given by each test."""
    async with TestClient(TestServer(make_app(hub)), cookie_jar=DummyCookieJar()) as client:
        yield client


def headers(client: Client, cookie: str = "") -> dict[str, str]:
    """Those of a browser."""
    origin = {"Origin": str(client.make_url("/").origin())}
    return {"Cookie": f"{COOKIE}={cookie}", **origin} if cookie else origin


async def sign_in(client: Client, name: str = "", secret: str = TOKEN) -> str:
    """Sign in; the session's cookie."""
    form = {"name": name, "token": secret}
    answer = await client.post("/signin", data=form, headers=headers(client), allow_redirects=False)
    assert answer.status == 303
    return answer.cookies[COOKIE].value


async def is_in(client: Client, cookie: str) -> bool:
    """Whether the hub knows the browser."""
    answer = await client.get("/account", headers=headers(client, cookie))
    assert answer.status in (200, 401)
    return answer.status == 200


def kept(hub: MadeUpHub) -> Path:
    """The file."""
    assert hub.sessions_file is not None
    return hub.sessions_file


async def test_a_restart_ends_no_session(hub: MadeUpHub, people: Path) -> None:
    """Of an account and of the token; the twelve hours count from the sign-in."""
    async with run(hub) as client:
        person = await sign_in(client, "a.operate", PASSWORD)
        await hub.clock.advance(3600)
        program = await sign_in(client)
    await hub.clock.advance(9 * 3600)
    async with run(hub) as client:
        assert await is_in(client, person) and await is_in(client, program)
        assert not await is_in(client, f"{person}x")
        await hub.clock.advance(2 * 3600 + 1)
        assert not await is_in(client, person) and await is_in(client, program)
    await hub.clock.advance(3600)
    async with run(hub) as client:
        assert not await is_in(client, person) and not await is_in(client, program)
    hub.store.close()


async def test_the_file_lets_nobody_in(hub: MadeUpHub, people: Path) -> None:
    """It is the hub's alone, and holds neither a cookie nor what proves an account or the token.
    Who can write it, but does not know that, makes no session with it."""
    async with run(hub) as client:
        cookies = [await sign_in(client), await sign_in(client, "a.operate", PASSWORD)]
        kept(hub).unlink()
        cookies.append(await sign_in(client, "a.read", PASSWORD))
    assert stat.S_IMODE(kept(hub).stat().st_mode) == 0o600
    text = kept(hub).read_text("utf-8")
    credentials = [one.session_key for one in read_accounts(people).values()]
    token = hash_token(TOKEN)
    for secret in (*cookies, *credentials, TOKEN, token, token.removeprefix("sha256:")):
        assert secret not in text
    forged = json.loads(text)
    for entry in forged:
        entry["account"] = "a.administer"  # the proof is of another account's key
    kept(hub).write_text(json.dumps(forged), "utf-8")
    async with run(hub) as client:
        for cookie in (*cookies, *(entry["key"] for entry in forged)):
            assert not await is_in(client, cookie)
    hub.store.close()


async def test_what_ended_stays_ended(hub: MadeUpHub, people: Path) -> None:
    """A sign-out and a session ended from the list do not return; a password changed while the hub
    was down ends the sessions of before, and so does `account end --sessions`."""
    async with run(hub) as client:
        out, listed, changed, ended, stays = [
            await sign_in(client, f"a.{role}", PASSWORD)
            for role in ("read", "administer", "operate", "read", "administer")
        ]
        await client.post("/signout", headers=headers(client, out))
        answer = await client.get("/account", headers=headers(client, listed))
        others = (await answer.text()).split("/account/sessions/")[1:]
        mine = json.loads(kept(hub).read_text("utf-8"))[0]["id"]
        assert any(one.startswith(f"{mine}/") for one in others)
        await client.post(f"/account/sessions/{mine}/end", headers=headers(client, stays))
    again = make_account("a.operate", Role.OPERATE, PASSWORD + "2", ADDED)
    change(people, "a.operate", password=again.password, session_key=again.session_key)
    key = without_sessions(read_accounts(people)["a.read"]).session_key
    change(people, "a.read", session_key=key)
    async with run(hub) as client:
        for cookie in (out, listed, changed, ended):
            assert not await is_in(client, cookie)
        assert await is_in(client, stays)
    token_file = hub.config.hub.api_token_file
    assert token_file is not None
    async with run(hub) as client:
        program = await sign_in(client)
    token_file.write_text("another-token-of-good-length-01234567890")
    async with run(hub) as client:
        assert not await is_in(client, program)
    hub.store.close()


def _readable(file: Path) -> None:
    file.chmod(0o644)


def _of_the_future(file: Path) -> None:
    file.write_text(file.read_text("utf-8").replace("2026-", "2027-"), "utf-8")


SPOILT: dict[str, Callable[[Path], object]] = {
    "readable by others": _readable,
    "half": lambda file: file.write_text(file.read_text("utf-8")[:-9], "utf-8"),
    "no list": lambda file: file.write_text('{"key": 1}', "utf-8"),
    "wrong types": lambda file: file.write_text('[{"key": 1, "id": [], "proof": {}}]', "utf-8"),
    "bytes": lambda file: file.write_bytes(b"\xff\x00" * 40),
    "nested": lambda file: file.write_text("[" * 200_000, "utf-8"),
    "large": lambda file: file.write_text("[" + " " * 1_000_001 + "]", "utf-8"),
    "begun in the future": _of_the_future,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=list(SPOILT))
async def test_a_file_that_is_not_ours_ends_the_sessions(
    hub: MadeUpHub, people: Path, spoil: Callable[[Path], object]
) -> None:
    """The hub starts, nobody is signed in, and the next sign-in is kept again."""
    async with run(hub) as client:
        before = await sign_in(client, "a.operate", PASSWORD)
    spoil(kept(hub))
    async with run(hub) as client:
        assert not await is_in(client, before)
        after = await sign_in(client, "a.operate", PASSWORD)
    assert stat.S_IMODE(kept(hub).stat().st_mode) == 0o600
    async with run(hub) as client:
        assert await is_in(client, after)
    hub.store.close()


async def test_a_disk_that_is_full_lets_no_session_return(
    hub: MadeUpHub, people: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sign-out that cannot be written down removes the file: a restart ends all sessions."""

    def full(path: Path, text: str, *, replace: bool = False) -> None:
        raise UserError(f"{path}: cannot be written: No space left on device")

    async with run(hub) as client:
        out, stays = await sign_in(client), await sign_in(client, "a.read", PASSWORD)
        monkeypatch.setattr(sessions, "write_secret", full)
        with caplog.at_level(logging.ERROR):
            await client.post("/signout", headers=headers(client, out))
        assert not await is_in(client, out) and await is_in(client, stays)
    assert "so a restart ends them" in caplog.text and not kept(hub).exists()
    async with run(hub) as client:
        assert not await is_in(client, out) and not await is_in(client, stays)
    hub.store.close()


async def test_a_hub_without_a_file_forgets(hub: MadeUpHub) -> None:
    """As the pages of a hub that is made up for a test may."""
    hub.sessions_file = None
    async with run(hub) as client:
        cookie = await sign_in(client)
        assert await is_in(client, cookie)
    async with run(hub) as client:
        assert not await is_in(client, cookie)
    assert timedelta(seconds=sessions.SESSION_SECONDS) == timedelta(hours=12)
    hub.store.close()
