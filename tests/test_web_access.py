"""Access: who may make changes over HTTP, and which files are served."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

import aiohttp
import pytest

from tests.made_up import config
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, CHANGES, TOKEN, Client, error, page


@pytest.mark.parametrize("path", CHANGES)
async def test_changes_need_the_token(client: Client, hub: MadeUpHub, path: str) -> None:
    """Without it, or with a wrong one, nothing happens and the answer says what is needed."""
    for given in (None, "Bearer wrong", f"Basic {TOKEN}", "Bearer \udcff\udcfe", "Bearer"):
        headers = {} if given is None else {"Authorization": given}
        answer = await client.post(path, headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert hub.requested == []


@pytest.mark.parametrize("path", CHANGES)
async def test_without_a_token_configured_nothing_can_be_changed(
    client: Client, hub: MadeUpHub, path: str
) -> None:
    """401 with the key to set, even for an empty bearer token."""
    hub.live._current.replace(config(11))
    answer = await client.post(path, headers={"Authorization": "Bearer "})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    page = await answer.text()
    assert "api_token_file" in page and '<p><a href="/signin' not in page
    assert hub.requested == []


async def test_a_token_file_that_others_may_read_is_refused(
    client: Client, hub: MadeUpHub, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer refers to the log, which says what is wrong."""
    path = hub.config.hub.api_token_file
    assert path is not None
    path.chmod(0o644)
    reload = {"method": "POST", "headers": BEARER}
    assert "see the hub's log" in await error(client, "/-/reload", 503, **reload)
    assert "chmod 600" in caplog.text


async def test_guessing_is_slow_and_logged_without_secrets(
    client: Client, hub: MadeUpHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten wrong tokens a minute from one address, then 429, also for the right one if it is short
    enough to be guessed; then again."""
    token_file = hub.config.hub.api_token_file
    assert token_file is not None
    token_file.write_text("short\n")
    caplog.set_level(logging.DEBUG)
    wrong = {"Authorization": "Bearer a-guess-of-somebody"}
    answers = [(await client.post("/-/reload", headers=wrong)).status for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    right = {"Authorization": "Bearer short"}
    blocked = {"method": "POST", "headers": right}
    assert "too many wrong tokens" in await error(client, "/-/reload", 429, **blocked)
    await hub.clock.advance(61)
    assert (await client.post("/-/reload", headers=right)).status == 200
    assert "wrong API token from 127.0.0.1" in caplog.text
    assert "a-guess-of-somebody" not in caplog.text
    assert TOKEN not in caplog.text


async def sign_in(client: Client, token: str = TOKEN, **headers: str) -> tuple[int, Any]:
    """Post the form as a browser does."""
    origin = {"Origin": str(client.make_url("/").origin())}
    answer = await client.post(
        "/signin",
        data={"token": token, "next": "/office/potka"},
        headers=origin | headers,
        allow_redirects=False,
    )
    return answer.status, answer


async def test_a_person_signs_in_measures_and_signs_out(client: Client, hub: MadeUpHub) -> None:
    """The cookie is not readable by scripts, not sent by other sites, and deleted on sign-out."""
    origin = {"Origin": str(client.make_url("/").origin())}
    assert "Sign in to measure now" in await page(client, "/office/potka")
    code, answer = await sign_in(client)
    assert (code, answer.headers["Location"]) == (303, "/office/potka")
    cookie = answer.cookies["jharnet_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["max-age"] == "43200"
    assert TOKEN not in cookie.value
    assert 'action="/office/potka/probes/bandwidth"' in await page(client, "/office/potka")
    english = origin | {"Accept-Language": "en"}
    answer = await client.post("/office/potka/probes/bandwidth", headers=english)
    assert "Test started: Bandwidth" in await answer.text()
    assert hub.requested == [("potka", "bandwidth", {})]
    await client.post("/signout", headers=origin)
    assert "Sign in to measure now" in await page(client, "/office/potka")


async def test_sign_in_with_a_wrong_token_fails(client: Client) -> None:
    """The form is shown again with a message in the reader's language."""
    code, answer = await sign_in(client, "wrong", **{"Accept-Language": "hi"})
    assert code == 401
    assert "यह टोकन सही नहीं है।" in await answer.text()
    assert "jharnet_session" not in answer.cookies


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None, "http://127.0.0.1"])
async def test_another_site_cannot_use_a_session(
    client: Client, hub: MadeUpHub, origin: str | None
) -> None:
    """A change with a session is refused if its origin is another site or missing."""
    await sign_in(client)
    headers = {} if origin is None else {"Origin": origin}
    for path in CHANGES:
        assert (await client.post(path, headers=headers)).status == 403
    assert (await sign_in(client, Origin=origin or ""))[0] == 403
    assert hub.requested == []


async def test_a_session_ends(client: Client, hub: MadeUpHub) -> None:
    """It ends after twelve hours, with a new token, and no other cookie is taken for it."""
    await sign_in(client)
    assert "Sign out" in await page(client, "/")
    jar = client.session.cookie_jar
    held = jar.filter_cookies(client.make_url("/"))["jharnet_session"].value
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for cookie, holds in (
            (held, True),
            (held[:-1], False),
            (f"{held}x", False),
            ("\udcff", False),
            ("", False),
        ):
            headers = {"Cookie": f"jharnet_session={cookie}"}
            async with session.get(client.make_url("/"), headers=headers) as answer:
                assert ("/signout" in await answer.text()) == holds
    token_file = hub.config.hub.api_token_file
    assert token_file is not None
    token_file.write_text("another-token-of-good-length")
    assert "/signout" not in await page(client, "/")
    token_file.write_text(TOKEN)
    assert "/signout" in await page(client, "/")
    await hub.clock.advance(12 * 3600 + 1)
    assert "/signout" not in await page(client, "/")


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "x"]
)
async def test_sign_in_does_not_redirect_to_other_sites(client: Client, target: str) -> None:
    """The page to return to is on the hub."""
    answer = await client.post(
        "/signin",
        data={"token": TOKEN, "next": target},
        headers={"Origin": str(client.make_url("/").origin())},
        allow_redirects=False,
    )
    assert answer.headers["Location"] == "/"


async def test_reports_are_listed_and_served(client: Client, hub: MadeUpHub) -> None:
    """Only plain files with a name that the hub gives are served; HTML is sandboxed."""
    assert "No report has been written yet" in await page(client, "/reports")
    directory = hub.reports_dir
    assert directory is not None
    directory.mkdir()
    (directory / "weekly-2026-W47.hi.pdf").write_bytes(b"%PDF-1.7")
    older = directory / "weekly-2026-W47.hi.html"
    older.write_text("<script>alert(1)</script>")
    os.utime(older, (1e9, 1e9))
    (directory / ".secret.pdf").write_text("hidden")
    (directory / "key.pem").write_text("a key")
    (directory / "card.pdf").write_text("a join link with its token")
    (directory / "weekly-2026-W46.hi.pdf").symlink_to(directory / "key.pem")
    html = await page(client, "/reports")
    assert re.findall(r'href="/reports/([^"]+)"', html) == [
        "weekly-2026-W47.hi.html",
        "weekly-2026-W47.hi.pdf",
    ]
    pdf = await client.get("/reports/weekly-2026-W47.hi.pdf")
    assert (await pdf.read(), pdf.content_type) == (b"%PDF-1.7", "application/pdf")
    shown = await client.get("/reports/weekly-2026-W47.hi.html")
    assert shown.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    outside = ("..%2Fmonitor.db", "..%2F..%2Fx.pdf")
    for name in (".secret.pdf", "key.pem", "card.pdf", "weekly-2026-W46.hi.pdf", "x.pdf", *outside):
        assert (await client.get(f"/reports/{name}")).status == 404


async def test_names_in_addresses_are_escaped(client: Client) -> None:
    """Markup in an address is shown as text."""
    html = await page(client, "/office/%3Cscript%3Ealert(1)%3C%2Fscript%3E", status=404)
    assert "<script>alert" not in html
    message = await error(client, "/api/v1/measurements?office=" + "x" * 5000, 404)
    assert len(message) < 400
