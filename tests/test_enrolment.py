"""Enrolment of an agent: real TLS with an authority of the hub's own, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from jharnet_monitor.agent import enrolment as agent_side
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands import agent as agent_command
from jharnet_monitor.commands.enrol import enrol
from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError
from jharnet_monitor.security import tls
from jharnet_monitor.security.enrolment import REPEAT_TIME, Enrolment, accept, issue
from jharnet_monitor.security.tokens import hash_token, make_token, matches, read_secret
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.web import make_app
from tests.made_up import NOW, district
from tests.made_up_hub import MadeUpHub

CONFIG = """
district: {id: east-singhbhum, name: East Singhbhum, name_hi: पूर्वी सिंहभूम}
hub:
  listen: 127.0.0.1:9797
  database: sqlite:///monitor.db
  tls: {certificate: tls/hub.pem, key: tls/hub.key}
  uplink: {contracted: 34 Mbit/s}
offices:
- {id: potka, name: Potka, name_hi: पोटका, pc: 10.8.3.10, agent: {token_hash_file: secrets/potka}}
- {id: boram, name: Boram, name_hi: बोड़ाम, pc: 10.8.4.10}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A hub's file, with an authority made now."""
    path = tmp_path / "jharnet.yaml"
    path.write_text(CONFIG)
    files = tls.Files(tmp_path / "tls")
    now = SystemClock().now()
    tls.make_authority(files, "test", now)
    tls.make_certificate(files, [], [ip_address("127.0.0.1")], now)
    return path


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[tuple[MadeUpHub, str]]:
    """The hub of that file over TLS, and its address."""
    settings = load_config(path, files=False)
    live = district()
    live._current.replace(settings)
    hub = MadeUpHub(live, path.parent)
    runner = web.AppRunner(make_app(hub))
    await runner.setup()
    assert settings.hub.tls
    context = tls.server_context(settings.hub.tls)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield hub, f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        hub.store.close()


def made(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Enrolment:
    """What `enrol potka` writes for the office; the code is valid from the made-up hub's present
    time."""

    class AtHub(SystemClock):
        def now(self):  # type: ignore[no-untyped-def]
            return NOW

    monkeypatch.setattr("jharnet_monitor.commands.enrol.SystemClock", AtHub)
    enrol("potka", path, every=False, out=path.parent / "out", hub=url, days=14)
    return Enrolment.of(read_secret(path.parent / "out" / "potka.enrolment"))


async def test_a_code_is_swapped_for_a_token(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent ends with a file that it can run with, and the hub with its token's hash; who
    enrolled whom is an event; the code is no longer valid."""
    place = tmp_path / "office"
    async with serving(config) as (hub, url):
        carried = made(config, url, monkeypatch)
        written = await agent_side.enrol(carried, place, SystemClock())
        found = load_yaml_model(written, AgentFile)
        assert (found.hub, found.office) == (url.replace("https", "wss") + "/agent", "potka")
        assert found.token_file is not None and found.ca == place / "ca.pem"
        token = read_secret(found.token_file)
        assert matches(token, tmp_path / "secrets" / "potka")
        acts = [Act.of(e) for e in hub.store.event_log.events(office=OF_PEOPLE) if e.kind == ACT]
        assert {act.what for act in acts} == {"enrolment made", "enrol"}
        assert {act.about["office"] for act in acts} == {"potka"}
        assert carried.code not in (tmp_path / "secrets" / "potka.enrolment").read_text()
        with pytest.raises(UserError, match="used already"):
            await agent_side.enrol(carried, tmp_path / "other", SystemClock())
        assert matches(token, tmp_path / "secrets" / "potka")


async def test_the_agent_waits_for_a_line_that_is_down(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its token over the tries, and enrols once the hub answers."""
    monkeypatch.setattr(agent_side, "FIRST_RETRY_SECONDS", 0.05)
    place = tmp_path / "office"
    async with serving(config) as (_, url):
        carried = made(config, url, monkeypatch)
    task = asyncio.create_task(agent_side.enrol(carried, place, SystemClock()))
    await asyncio.sleep(0.3)
    token = read_secret(place / "token")
    task.cancel()
    settings = load_config(config, files=False)
    assert settings.hub.tls
    async with serving(config) as (_, url):
        again = Enrolment(url, "potka", carried.code, carried.authority, carried.expires)
        await agent_side.enrol(again, place, SystemClock())
    assert read_secret(place / "token") == token


async def test_a_hub_of_another_authority_gets_no_code(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody between office and hub shows a certificate of his own: the code is not sent."""
    async with serving(config) as (_, url):
        carried = made(config, url, monkeypatch)
        other = Enrolment(carried.hub, "potka", carried.code, "0" * 64, carried.expires)
        with pytest.raises(UserError, match="another fingerprint"):
            await agent_side.enrol(other, tmp_path / "office", SystemClock())
        await agent_side.enrol(carried, tmp_path / "office", SystemClock())


async def test_what_a_stranger_sends_is_refused(config: Path) -> None:
    """Wrong codes, offices and bodies get one line and admit nobody."""
    async with serving(config) as (_, url), aiohttp.ClientSession() as http:
        bodies: list[object] = [
            {}, [], {"office": "potka"}, {"office": "potka", "code": "x", "token_hash": "y"},
            {"office": "boram", "code": "x", "token_hash": hash_token("t")},
            {"office": "../potka", "code": "x", "token_hash": hash_token("t")},
            {"office": "potka", "code": 1, "token_hash": "z" * 5000},
        ]  # fmt: skip
        for body in bodies:
            async with http.post(f"{url}/api/v1/enrolments", json=body, ssl=False) as answer:
                assert answer.status in (400, 403), body
                assert set(await answer.json()) == {"error"}
    assert not (config.parent / "secrets" / "potka").exists()


def test_a_code_works_once_and_not_for_ever(tmp_path: Path) -> None:
    """It is refused when it is wrong, used by another agent, or too old; repeated only at once."""
    file = tmp_path / "potka"
    code, mine, other = issue(file, by="e", expires=NOW + timedelta(days=1)), *("m", "o")
    with pytest.raises(UserError, match="expired"):
        accept(file, code, hash_token(mine), NOW + timedelta(days=2))
    with pytest.raises(UserError, match="wrong code"):
        accept(file, make_token(), hash_token(mine), NOW)
    assert accept(file, code, hash_token(mine), NOW) == "e"
    assert accept(file, code, hash_token(mine), NOW + REPEAT_TIME) == "e"
    for who, at in ((other, NOW), (mine, NOW + 2 * REPEAT_TIME)):
        with pytest.raises(UserError, match="used already"):
            accept(file, code, hash_token(who), at)
    assert matches(mine, file)


def test_a_hub_starts_with_enrolments_alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration is valid before any agent has brought its token, and not without a code."""
    with pytest.raises(UserError, match=r"token_hash_file: there is no file .*secrets/potka"):
        load_config(config)
    made(config, "https://127.0.0.1:1", monkeypatch)
    assert load_config(config).office("potka").agent is not None
    assert not matches("", config.parent / "secrets/potka")


def test_what_is_no_enrolment_gets_one_line(tmp_path: Path) -> None:
    """A torn or foreign line names the remedy."""
    for text in ("", "jharnet-enrolment-1:", "jharnet-enrolment-1:e30=", "token"):
        with pytest.raises(UserError, match="`jharnet-monitor enrol OFFICE`"):
            Enrolment.of(text)
    file = tmp_path / "x"
    file.write_text("nothing\n")
    file.chmod(0o600)
    with pytest.raises(UserError, match="no enrolment"):
        agent_command._enrolled(file, tmp_path)
