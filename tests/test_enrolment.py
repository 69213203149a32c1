"""Enrolment of an agent: real TLS with an authority of the hub's own, on loopback."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from threading import Barrier

import aiohttp
import pytest
from aiohttp import web

from jharnet_monitor.agent import enrolment as agent_side
from jharnet_monitor.agent.versions import write_durably
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands import agent as agent_command
from jharnet_monitor.commands.enrol import enrol
from jharnet_monitor.config.agent_file import AgentFile
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import TemporaryError, UserError, is_one_line
from jharnet_monitor.security import enrolment as enrolment_files
from jharnet_monitor.security import tls
from jharnet_monitor.security.enrolment import REPEAT_TIME, Enrolment, accept, issue
from jharnet_monitor.security.tokens import (
    hash_token,
    make_token,
    matches,
    read_secret,
    write_secret,
)
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.web import make_app
from tests.made_up import NOW, district
from tests.made_up_hub import MadeUpHub
from tests.test_hub_commands import listening

KEY = base64.b64encode(bytes(range(32))).decode()
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


def made(path: Path, url: str, monkeypatch: pytest.MonkeyPatch, office: str = "potka") -> Enrolment:
    """What `enrol OFFICE` writes for the office; the code is valid from the made-up hub's present
    time."""

    class AtHub(SystemClock):
        def now(self):  # type: ignore[no-untyped-def]
            return NOW

    monkeypatch.setattr("jharnet_monitor.commands.enrol.SystemClock", AtHub)
    enrol(office, path, every=False, out=path.parent / "out", hub=url, days=14)
    return Enrolment.of(read_secret(path.parent / "out" / f"{office}.enrolment"))


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


@pytest.fixture(params=["101", "007", "no", "true", "null", "0x1f", "2026-11-27"])
def office(request: pytest.FixtureRequest, config: Path) -> str:
    """An office id that is no text to YAML without quotes; the hub's file has it."""
    config.write_text(CONFIG.replace("id: potka", f'id: "{request.param}"'))
    return str(request.param)


async def test_an_office_id_that_yaml_reads_as_another_type_can_be_enrolled(
    config: Path, office: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent.yaml that its code was used for has the id as text."""
    async with serving(config) as (_, url):
        carried = made(config, url, monkeypatch, office)
        written = await agent_side.enrol(carried, tmp_path / "office", SystemClock())
    assert load_yaml_model(written, AgentFile).office == office


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


@pytest.mark.parametrize(
    ("status", "headers", "text", "says"),
    [
        (302, {"Location": f"https://portal/\u202e{'x' * 5000}"}, "",
         r"status 302, to https://portal/\\u202ex{176}\)"),
        (304, {}, "", "status 304"),
        (200, {}, "<html>Please sign in</html>", "status 200, text/html"),
        (200, {}, '{"office": "boram"}', "status 200"),
        (200, {}, "[" * 50_000, "status 200"),
        (200, {}, None, "status 200"),
        (202, {}, '{"office": "potka"}', "status 202"),
        (204, {}, "", "status 204"),
    ],
)  # fmt: skip
async def test_what_is_no_hub_enrols_nobody(
    tmp_path: Path, status: int, headers: Mapping[str, str], text: str | None, says: str
) -> None:
    """A portal or proxy answers: one line says what to do, nothing is written, and an answer
    without an end is not read to it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if text is not None:
            return web.Response(status=status, headers=headers, text=text, content_type="text/html")
        endless = web.StreamResponse()
        await endless.prepare(request)
        with suppress(ConnectionError):
            while True:
                await endless.write(bytes(4096))
        return endless

    app = web.Application()
    app.router.add_post("/api/v1/enrolments", answer)
    place = tmp_path / "office"
    async with listening(app, "127.0.0.1") as port:
        carried = Enrolment(f"http://127.0.0.1:{port}", "potka", "c", None, "")
        with pytest.raises(UserError, match=f"is no hub .{says}") as refused:
            await agent_side.enrol(carried, place, SystemClock())
    assert is_one_line(str(refused.value)) and "`jharnet-monitor enrol potka" in str(refused.value)
    assert [path.name for path in place.iterdir()] == ["token"]


@pytest.mark.parametrize("name", ["ca.pem", "agent.yaml"])
async def test_a_full_disk_ends_the_enrolment(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its file is named at once; the hub would be tried for ever."""

    def full(path: Path, data: bytes, mode: int | None = None) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_durably(path, data, mode)

    monkeypatch.setattr(agent_side, "write_durably", full)
    place = tmp_path / "office"
    async with serving(config) as (_, url), asyncio.timeout(60):
        carried = made(config, url, monkeypatch)
        with pytest.raises(
            TemporaryError, match=f"{place / name}: cannot be written: No space left"
        ):
            await agent_side.enrol(carried, place, SystemClock())


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
    """It is refused when it is wrong, used by another agent, or too old. Its agent may repeat it
    while its token is registered, and at once."""
    file = tmp_path / "potka"
    code, mine, other = issue(file, by="e", expires=NOW + timedelta(days=1)), *("m", "o")
    with pytest.raises(UserError, match="expired"):
        accept(file, code, hash_token(mine), NOW + timedelta(days=2))
    with pytest.raises(UserError, match="wrong code"):
        accept(file, make_token(), hash_token(mine), NOW)
    assert accept(file, code, hash_token(mine), NOW) == "e"
    assert accept(file, code, hash_token(mine), NOW + REPEAT_TIME) == "e"
    assert accept(file, code, hash_token(mine), NOW + 2 * REPEAT_TIME) == "e"
    with pytest.raises(UserError, match="used already"):
        accept(file, code, hash_token(other), NOW)
    assert matches(mine, file)
    write_secret(file, hash_token(other), replace=True)  # `jharnet-monitor token potka --force`
    with pytest.raises(UserError, match="used already"):
        accept(file, code, hash_token(mine), NOW + 2 * REPEAT_TIME)
    assert matches(other, file)


def test_a_code_that_two_send_at_once_admits_one(tmp_path: Path) -> None:
    """Whoever is told that it is enrolled is the one whose token is registered."""
    for number in range(8):
        file = tmp_path / f"potka-{number}"
        code, start = issue(file, by="e", expires=NOW + timedelta(days=1)), Barrier(2)

        def send(token: str, file: Path = file, code: str = code, start: Barrier = start) -> bool:
            start.wait()
            try:
                accept(file, code, hash_token(token), NOW)
            except UserError:
                return False
            return True

        with ThreadPoolExecutor(2) as both:
            admitted = dict(zip(("a", "b"), both.map(send, ("a", "b")), strict=True))
        assert [token for token, is_in in admitted.items() if is_in] == [
            token for token in ("a", "b") if matches(token, file)
        ]


def test_a_power_cut_of_the_hub_leaves_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its two writes: the agent sends the code again, however late, and is enrolled."""
    file = tmp_path / "potka"
    code = issue(file, by="e", expires=NOW + timedelta(days=1))

    def cut(path: Path, text: str, *, replace: bool = False) -> None:
        if path != file:
            raise SystemExit("the power is cut")
        write_secret(path, text, replace=replace)

    monkeypatch.setattr(enrolment_files, "write_secret", cut)
    with pytest.raises(SystemExit):
        accept(file, code, hash_token("mine"), NOW)
    monkeypatch.undo()
    assert accept(file, code, hash_token("mine"), NOW + 2 * REPEAT_TIME) == "e"
    assert matches("mine", file)


async def test_what_enrolment_writes_can_be_read_by_the_service(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask of the person: the directory, agent.yaml and ca.pem; not the token."""
    place = tmp_path / "etc" / "office"
    async with serving(config) as (_, url):
        carried = made(config, url, monkeypatch)
        before = os.umask(0o077)
        try:
            await agent_side.enrol(carried, place, SystemClock())
        finally:
            os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (place, *place.iterdir())}
    assert modes == {"office": 0o755, "agent.yaml": 0o644, "ca.pem": 0o644, "token": 0o600}


async def _trusts(
    config: Path, carried: Enrolment, authority: bytes, into: Path
) -> ssl.SSLContext | bool:
    """What an agent trusts that gets this text for the authority, over a slow line in several
    segments."""

    async def in_pieces(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for at in range(0, len(authority), 200):
            await answer.write(authority[at : at + 200])
            await asyncio.sleep(0.02)
        return answer

    app = web.Application()
    app.router.add_get("/api/v1/ca.pem", in_pieces)
    runner = web.AppRunner(app)
    await runner.setup()
    settings = load_config(config, files=False)
    assert settings.hub.tls
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context(settings.hub.tls))
    await site.start()
    there = replace(carried, hub=f"https://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with aiohttp.ClientSession() as http:
            return await agent_side._trust_hub(there, into, http)
    finally:
        await runner.cleanup()


async def test_an_authority_in_pieces_is_read_whole(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow line delivers the certificate in several segments."""
    carried = made(config, "https://127.0.0.1:1", monkeypatch)
    pem = (config.parent / "tls" / "ca.pem").read_bytes()
    await _trusts(config, carried, pem, tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == pem


def _authorities(directory: Path) -> Iterator[str]:
    """Certificates of new authorities, whose lengths differ by some bytes."""
    for number in count():
        files = tls.Files(directory / str(number))
        tls.make_authority(files, "test", SystemClock().now())
        yield files.authority.read_text()


async def test_only_the_authority_of_the_fingerprint_is_trusted(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody between office and hub sends his own authority, or other base64, after the hub's,
    whose base64 ends with padding, behind which Python 3.11's decoder stops: he is refused."""
    pem = next(one for one in _authorities(tmp_path / "padded") if "=" in one)
    other = next(_authorities(tmp_path / "other"))
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    carried = replace(made(config, "https://127.0.0.1:1", monkeypatch), authority=fingerprint)
    footer = pem.splitlines()[-1]
    for sent in (pem + other, other + pem, pem.replace(footer, f"QUJD\n{footer}")):
        with pytest.raises(UserError, match="its authority has another fingerprint"):
            await _trusts(config, carried, sent.encode(), tmp_path)
        assert not (tmp_path / "ca.pem").exists()
    trusted = await _trusts(config, carried, pem.encode(), tmp_path)
    assert (tmp_path / "ca.pem").read_text() == pem
    assert isinstance(trusted, ssl.SSLContext)
    assert trusted.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(pem)]


def test_an_enrolment_names_one_authority(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint belongs to one certificate: a ca.pem with two is refused."""
    authority = config.parent / "tls" / "ca.pem"
    authority.write_text(2 * authority.read_text())
    with pytest.raises(UserError, match=r"ca\.pem: holds several certificates"):
        made(config, "https://127.0.0.1:1", monkeypatch)


def _enrolled_machine(tmp_path: Path, carried: Enrolment, text: str) -> Path:
    """The file of an enrolment, for a machine whose agent.yaml is this text."""
    (tmp_path / "agent.yaml").write_text(text)
    file = tmp_path / "potka.enrolment"
    write_secret(file, carried.to_line(), replace=True)
    return file


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hub: wss://other:1/agent\noffice: potka\n", "hub: wss://other:1/agent"),
        ("hub: wss://h:1/agent\noffice: boram\n", "office: boram"),
        ("hub: wss://h:1/agent\noffice: potka\n", "release_key: None"),
    ],
)
def test_another_enrolment_of_a_machine_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """With --no-run, as the installer calls it; a running agent goes on with its own file."""
    carried = Enrolment("https://h:1", "potka", "c", None, "2026-11-27T00:00:00Z", KEY)
    file = _enrolled_machine(tmp_path, carried, "")
    with pytest.raises(UserError, match="is empty"):
        agent_command._enrolled(file, tmp_path, only_enrol=True)
    file = _enrolled_machine(tmp_path, carried, text)
    with pytest.raises(UserError, match=f"enrolled already, with {why}.*delete") as refused:
        agent_command._enrolled(file, tmp_path, only_enrol=True)
    assert str(tmp_path / "token") in str(refused.value)
    assert agent_command._enrolled(file, tmp_path, only_enrol=False) == tmp_path / "agent.yaml"


def test_the_same_enrolment_again_changes_nothing(tmp_path: Path) -> None:
    """An installer that runs again, and keys that their owner added."""
    carried = Enrolment("https://h:1", "potka", "c", None, "2026-11-27T00:00:00Z", KEY)
    text = f"hub: wss://h:1/agent\noffice: potka\nrelease_key: {KEY}\nspool: /var/spool/x\n"
    file = _enrolled_machine(tmp_path, carried, text)
    assert agent_command._enrolled(file, tmp_path, only_enrol=True) == tmp_path / "agent.yaml"
    assert (tmp_path / "agent.yaml").read_text() == text


def test_the_address_of_a_reverse_proxy_is_no_agents_address(config: Path) -> None:
    """Its path would be lost, and agents connect to the hub itself."""
    with pytest.raises(UserError, match=r"without a path.*--hub https://HOST:9797"):
        enrol("potka", config, every=False, out=config.parent / "out", hub="https://h/jharnet",
              days=14)  # fmt: skip


@pytest.mark.parametrize("key", ["", "AAAA", "not base64", KEY[:-4], "A" * 60])
def test_a_wrong_release_key_takes_no_updates(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent measures all the same, and says at its start where the right one is."""
    token = tmp_path / "token"
    write_secret(token, "t")
    given = {"hub": "ws://127.0.0.1:1/agent", "office": "potka", "token_file": token}
    assert agent_command._agent_settings({**given, "release_key": key}, None).release_key is None
    assert "`jharnet-monitor update status`" in caplog.text
    assert agent_command._agent_settings({**given, "release_key": KEY}, None).release_key == KEY


@pytest.mark.parametrize("text", [None, "", "jharnet-enrolment-1:", "token"])
def test_an_enrolled_agent_needs_its_enrolment_no_more(tmp_path: Path, text: str | None) -> None:
    """The file with the used code was deleted; a machine that is not enrolled gets one line."""
    file = tmp_path / "potka.enrolment"
    if text is not None:
        file.write_text(text)
        file.chmod(0o600)
    with pytest.raises(UserError):
        agent_command._enrolled(file, tmp_path, only_enrol=False)
    (tmp_path / "agent.yaml").write_text("hub: wss://h:1/agent\noffice: potka\n")
    assert agent_command._enrolled(file, tmp_path, only_enrol=False) == tmp_path / "agent.yaml"
    with pytest.raises(UserError):
        agent_command._enrolled(file, tmp_path, only_enrol=True)


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
        agent_command._enrolled(file, tmp_path, only_enrol=True)
