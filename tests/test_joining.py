"""Join links: cards with QR codes, who has joined, and the hub behind a reverse proxy."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader
from typer.testing import CliRunner

from jharnet_monitor.cli import app
from jharnet_monitor.report.output.join_card import JoinLink, card_sheet, qr_rows
from jharnet_monitor.security.tokens import matches
from jharnet_monitor.web.proxies import is_trusted, original_sender
from tests.made_up import NOW, config, district
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, TOKEN, Client, page, serving


@pytest.fixture
def proxied(tmp_path: Path) -> MadeUpHub:
    """A hub behind a proxy on this machine, under a path, with an API token."""
    token = tmp_path / "api-token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    live = district()
    live._current.replace(
        config(11, api_token_file=str(token), url="https://portal.example.in/jharnet",
               trusted_proxies=("127.0.0.0/8",))
    )  # fmt: skip
    return MadeUpHub(live, tmp_path)


@pytest.fixture
async def behind(proxied: MadeUpHub) -> AsyncIterator[Client]:
    """A client of that hub, as the proxy is one."""
    async with serving(proxied) as client:
        yield client


def test_a_card_has_link_names_and_telephone() -> None:
    """In Hindi and English, a page for each office."""
    made = config(2)
    contact = made.district.model_validate({
        **made.district.model_dump(by_alias=True),
        "contact": {"name": "Engineer", "name_hi": "अभियंता", "phone": "+91 657 000000"},
    })  # fmt: skip
    made = made.model_copy(update={"district": contact})
    links = [JoinLink(o.id, f"https://10.8.0.2:9797/join/{o.id}#t=secret") for o in made.offices]
    reader = PdfReader(io.BytesIO(card_sheet(links, made, NOW)))
    assert len(reader.pages) == 2
    text = reader.pages[1].extract_text()
    assert "https://10.8.0.2:9797/join/patamda#t=secret" in text
    assert "Patamda" in text and "+91 657 000000" in text and "Engineer" in text


def test_a_qr_code_has_its_finders() -> None:
    """Three corners hold the pattern of ISO/IEC 18004; the code is square."""
    rows = qr_rows("https://10.8.0.2:9797/join/potka#t=" + "x" * 43)
    size = len(rows)
    assert {len(row) for row in rows} == {size}
    finder = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]
    for top, left in ((0, 0), (0, size - 7), (size - 7, 0)):
        assert [row[left : left + 7] for row in rows[top : top + 7]] == finder


def test_token_writes_cards_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON has the tokens whose hashes were stored; the cards are for their owner alone, also
    while they take their place."""
    modes, replace = [], Path.replace

    def noted(path: Path, target: Path) -> Path:
        modes.append(path.stat().st_mode & 0o777)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    offices = [
        {"id": id_, "name": id_, "name_hi": "नाम", "pc": f"10.8.{len(id_)}.{ord(id_[0])}",
         "agent": {"token_hash_file": f"secrets/{id_}"}}
        for id_ in ("potka", "boram")
    ]  # fmt: skip
    written = {
        "district": {"id": "d", "name": "D", "name_hi": "जिला"},
        "hub": {"tls": "off", "uplink": {"contracted": "34 Mbit/s"}},
        "offices": offices,
    }
    file, cards = tmp_path / "jharnet.yaml", tmp_path / "cards.pdf"
    file.write_text(yaml.safe_dump(written, allow_unicode=True))
    done = CliRunner().invoke(
        app, ["token", "--all", "--json", "--card", str(cards), "--config", str(file)]
    )
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert [one["office"] for one in made] == ["potka", "boram"]
    for one in made:
        assert matches(one["token"], tmp_path / "secrets" / one["office"])
        assert one["link"].endswith(f"/join/{one['office']}#t={one['token']}")
    assert len(PdfReader(cards).pages) == 2
    assert cards.stat().st_mode & 0o077 == 0
    assert set(modes) == {0o600}


async def test_administrators_see_who_has_joined_and_make_new_links(
    client: Client, hub: MadeUpHub
) -> None:
    """No page shows a token; a new one is in its card alone, and only its hash is kept."""
    await page(client, "/joining", status=401)
    agent = hub.live.offices["potka"].agent
    agent.kind, agent.version = "browser", None
    answer = await client.get("/joining?lang=en", headers=BEARER)
    html = await answer.text()
    row = re.findall(r'<th scope="row"><a href="/office/potka">.*?</tr>', html, re.S)[0]
    assert "by browser" in row
    assert not re.search(r"#t=[A-Za-z0-9]", html)


async def test_a_new_link_locks_out_the_old_one(
    client: Client, hub: MadeUpHub, tmp_path: Path
) -> None:
    """The card comes with the only copy of the token; the act is on record."""
    office = hub.config.office("potka")
    assert office.agent is not None
    agent = office.agent.model_copy(update={"token_hash_file": tmp_path / "secrets/potka"})
    offices = tuple(
        one.model_copy(update={"agent": agent}) if one.id == "potka" else one
        for one in hub.config.offices
    )
    hub.live._current.replace(hub.config.model_copy(update={"offices": offices}))
    answer = await client.post("/joining/potka", headers=BEARER)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    text = PdfReader(io.BytesIO(await answer.read())).pages[0].extract_text()
    token = re.findall(r"/join/potka#t=([\w-]+)", text.replace("\n", ""))[0]
    assert matches(token, tmp_path / "secrets/potka")
    assert [(act.what, dict(act.about)) for act in hub.acts] == [
        ("token made", {"office": "potka"})
    ]


async def test_a_path_stands_before_every_address(behind: Client) -> None:
    """Links, forms, assets, redirects and the stream lead back through the proxy."""
    for path in ("/", "/office/potka", "/drills", "/maintenance", "/reports", "/faults", "/signin"):
        html = await page(behind, path)
        for address in re.findall(r'(?:href|src|action|data-address|data-events)="(/[^"]*)"', html):
            assert address.startswith("/jharnet/"), (path, address)
    answer = await behind.post(
        "/drills", headers=BEARER, data={"minutes": "2"}, allow_redirects=False
    )
    assert answer.headers["Location"] == "/jharnet/drills/d1"
    answer = await behind.get("/help", allow_redirects=False)
    assert answer.headers["Location"] == "/jharnet/help/"
    html = await page(behind, "/help/runbook")
    assert not re.search(r'(?:href|src)="/help', html)


async def test_a_proxy_is_believed_and_nobody_else(behind: Client, client: Client) -> None:
    """The sign-in works for the origin that the browser sees; a stranger's headers do nothing."""
    headers = {
        "Origin": "https://portal.example.in", "X-Forwarded-Host": "portal.example.in",
        "X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4, 10.8.3.10",
    }  # fmt: skip
    form = {"token": TOKEN, "next": "/drills"}
    answer = await behind.post("/signin", data=form, headers=headers, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/jharnet/drills")
    cookie = answer.cookies["jharnet_session"]
    assert cookie["secure"] and cookie["path"] == "/jharnet/"
    stranger = await client.post("/signin", data=form, headers=headers, allow_redirects=False)
    assert stranger.status == 403


def test_the_sender_is_the_last_that_is_no_proxy() -> None:
    """What stands before it may be anybody's invention."""
    proxies = [ip_network("10.0.0.0/24"), ip_network("fd00::/8")]
    assert is_trusted("10.0.0.7", proxies) and not is_trusted("10.0.1.7", proxies)
    assert not is_trusted(None, proxies)
    assert original_sender("9.9.9.9,10.8.3.10,10.0.0.7,fd00::1", proxies) == "10.8.3.10"
    assert original_sender("", proxies) is None
    assert original_sender("unknown", proxies) is None
