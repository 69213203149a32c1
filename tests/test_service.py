"""The service probe: real servers over loopback, slow in one phase or wrong in one way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Cause
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.base import (
    AgentContext,
    AgentLink,
    Channel,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
    ProbeError,
    Reading,
    headquarters_office,
)
from jharnet_monitor.probes.service.agent import agent_task
from jharnet_monitor.probes.service.order import MOST_REDIRECTS, VisitOrder
from jharnet_monitor.probes.service.result import VisitResult, reading_of
from jharnet_monitor.probes.service.run import run
from jharnet_monitor.probes.service.stopwatch import Phase
from jharnet_monitor.probes.service.visit import visit
from jharnet_monitor.security.tls import read_authority
from tests.busy_host import REPETITIONS
from tests.call_support import channel_pair
from tests.service_support import PAGE, PageServer, SlowResolver, server_tls
from tests.support import make_config, running
from tests.test_session import Endpoint, make_agent

NEAR = 0.35
"""Seconds by which a phase may differ on a busy machine; a visit may say so from 0.2 s on."""
SLOW = 0.8
"""Seconds that a slow phase takes."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own proxies are no part of a test."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's TLS that this machine trusts."""
    context = server_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


def order(url: str, **changes: Any) -> VisitOrder:
    """A visit with small limits."""
    requested: dict[str, Any] = {"hosts": (), "seconds": 5.0, "most": 100_000}
    return VisitOrder(url, **{**requested, **changes})


async def look(
    server: PageServer, resolver: SlowResolver | None = None, **changes: Any
) -> VisitResult:
    """Visit a server, again if this machine was too busy; a resolver makes it one by name."""
    for _ in range(REPETITIONS):
        result = await once(server, resolver, **changes)
        if result.cause is not Cause.HOST_OVERLOADED:
            return result
        server.requests.clear()
    return await once(server, resolver, **changes)


async def once(
    server: PageServer, resolver: SlowResolver | None = None, **changes: Any
) -> VisitResult:
    """Visit a server one time."""
    url = server.url if resolver is None else server.url.replace("127.0.0.1", "localhost")
    return await visit(order(url, **changes), time.monotonic, resolver)


@pytest.mark.parametrize("slow", ["dns", "tls", "first_byte", "transfer"])
async def test_the_time_is_charged_to_the_phase_that_took_it(
    slow: str, tls: ssl.SSLContext
) -> None:
    """And all phases together are the whole, to a millisecond."""
    server = PageServer(
        tls=SLOW * (slow == "tls"), wait=SLOW * (slow == "first_byte"),
        transfer=SLOW * (slow == "transfer"), context=tls,
    )  # fmt: skip
    async with server.serving():
        result = await look(server, SlowResolver(SLOW * (slow == "dns")))
    assert result.cause is None
    assert set(result.seconds) == set(Phase)
    assert sum(result.seconds.values()) == pytest.approx(result.total, abs=1e-3)
    assert result.seconds[slow] == pytest.approx(SLOW, abs=NEAR)
    assert all(took < NEAR for phase, took in result.seconds.items() if phase != slow)
    assert (result.status, result.bytes, result.requests) == (200, len(PAGE), 1)


async def test_without_name_and_encryption_there_are_no_such_phases() -> None:
    """What did not happen is absent."""
    async with PageServer().serving() as server:
        result = await look(server)
    assert set(result.seconds) == {Phase.CONNECT, Phase.FIRST_BYTE, Phase.TRANSFER}
    assert result.certificate_expires is None


async def test_a_visit_reports_how_long_the_certificate_is_valid(tls: ssl.SSLContext) -> None:
    """825 days for one made now."""
    async with PageServer(context=tls).serving() as server:
        result = await look(server)
    assert result.certificate_expires == pytest.approx(time.time() + 825 * 86400, abs=60)


async def test_an_expired_certificate_fails_the_visit_with_its_expiry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own cause; the page is not asked for."""
    context = server_tls(tmp_path, timedelta(days=1000))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with PageServer(context=context).serving() as server:
        result = await look(server)
    assert (result.cause, result.phase) == (Cause.CERTIFICATE_INVALID, Phase.TLS)
    assert result.detail == "certificate has expired"
    assert server.requests == []
    assert result.certificate_expires == pytest.approx(time.time() - 175 * 86400, abs=60)


async def test_a_services_own_authority_is_trusted(tmp_path: Path) -> None:
    """By the order alone, as an agent's computer does not know it."""
    context, ca = server_tls(tmp_path), (tmp_path / "ca.pem").read_text()
    assert read_authority(tmp_path / "ca.pem") == ca
    with pytest.raises(UserError, match="no certificate in PEM form"):
        read_authority(tmp_path / "hub.key")
    for trusted, cause in ((ca, None), (None, Cause.CERTIFICATE_INVALID)):
        server = PageServer(context=context)
        async with server.serving():
            assert (await look(server, ca=trusted)).cause is cause


async def test_a_certificate_of_another_authority_is_not_valid(tmp_path: Path) -> None:
    """One that this machine does not trust."""
    async with PageServer(context=server_tls(tmp_path)).serving() as server:
        result = await look(server)
    assert result.cause is Cause.CERTIFICATE_INVALID


async def test_a_refused_connection_and_an_unknown_name() -> None:
    """Each by its cause and in its phase."""
    async with PageServer().serving() as server:
        pass
    refused = await look(server)
    assert (refused.cause, refused.phase) == (Cause.CONNECTION_FAILED, Phase.CONNECT)
    unknown = await look(server, SlowResolver(address=None))
    assert (unknown.cause, unknown.phase) == (Cause.NAME_NOT_RESOLVED, Phase.DNS)


async def test_a_server_that_takes_no_connection_hangs_in_connect() -> None:
    """A full backlog drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        held = []
        for _ in range(3):
            full = socket.socket()
            full.setblocking(False)
            full.connect_ex(("127.0.0.1", port))
            held.append(full)
        result = await visit(order(f"http://127.0.0.1:{port}/", seconds=0.4), time.monotonic)
    assert (result.cause, result.phase) == (Cause.TIMEOUT, Phase.CONNECT)
    assert result.seconds == {}
    assert result.total == pytest.approx(0.4, abs=NEAR)


@pytest.mark.parametrize(
    ("server", "phase"),
    [
        (PageServer(wait=9), Phase.FIRST_BYTE),
        (PageServer(transfer=9), Phase.TRANSFER),
        (PageServer(tls=9, context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), Phase.TLS),
    ],
)
async def test_a_visit_ends_in_time_and_says_what_it_waited_for(
    server: PageServer, phase: Phase
) -> None:
    """The phases before it are known; the one that broke off is not. Closing its connection takes
    no time either: the server would wait for 9 s."""
    async with server.serving():
        for _ in range(1 + REPETITIONS):
            began = time.monotonic()
            result = await once(server, seconds=0.4)
            took = time.monotonic() - began
            if result.cause is not Cause.HOST_OVERLOADED:
                break
    assert took < 5
    assert result.total < 2
    assert (result.cause, result.phase) == (Cause.TIMEOUT, phase)
    assert phase not in result.seconds and Phase.CONNECT in result.seconds


async def test_a_connection_that_breaks_is_an_interruption() -> None:
    """In the middle of the page."""
    async with PageServer(breaks=True, transfer=0.05).serving() as server:
        result = await look(server)
    assert (result.cause, result.phase) == (Cause.INTERRUPTED, Phase.TRANSFER)


async def test_an_error_page_has_its_status() -> None:
    """An error page does not count as a page, however fast it arrives."""
    async with PageServer(status=503).serving() as server:
        result = await look(server)
    assert (result.cause, result.status) == (Cause.HTTP_ERROR, 503)


@pytest.mark.parametrize(
    ("wanted", "packed", "cause"),
    [
        ("e-Office", False, None),
        ("e-Office", True, None),
        ("ई-ऑफिस", False, Cause.WRONG_PAGE),
        ("JharSewa", True, Cause.WRONG_PAGE),
    ],
)
async def test_the_page_must_have_the_expected_text(
    wanted: str, packed: bool, cause: Cause | None
) -> None:
    """Also inside a compressed page, whose bytes are counted as they came."""
    server = PageServer()
    if packed:
        server.body, server.headers = gzip.compress(PAGE), {"Content-Encoding": "gzip"}
    async with server.serving():
        result = await look(server, expect=wanted)
    assert result.cause is cause
    assert result.bytes == len(server.body)


async def test_a_huge_page_is_read_to_the_bound() -> None:
    """The time for the whole page is then unknown."""
    async with PageServer(body=PAGE + b"x" * 3_000_000).serving() as server:
        result = await look(server, expect="e-Office")
        reading = reading_of(result.to_message(), order(server.url), "office", time.time(), 1.0)
    assert result.truncated and 100_000 <= result.bytes <= 120_000
    assert result.spent < 200_000
    assert "total_seconds" not in reading.values and reading.conditions["truncated"] is True


async def test_a_small_page_that_unpacks_to_a_huge_one_is_searched_to_a_bound() -> None:
    """10 MB in 10 kB: memory is bounded, and what lies beyond is not found."""
    bomb = gzip.compress(b"0" * 10_000_000 + b"the end")
    server = PageServer(body=bomb, headers={"Content-Encoding": "gzip"})
    async with server.serving():
        result = await look(server, expect="the end", most=20_000)
    assert result.cause is Cause.WRONG_PAGE


async def test_redirects_lead_to_the_page() -> None:
    """Each phase is the sum over the pages."""
    async with PageServer(wait=0.1).serving() as page:
        onward = PageServer(status=302, wait=0.1, headers={"Location": page.url}, body=b"")
        async with onward.serving():
            result = await look(onward)
    assert (result.cause, result.status, result.requests) == (None, 200, 2)
    assert result.seconds[Phase.FIRST_BYTE] == pytest.approx(0.2, abs=NEAR)


async def test_a_redirect_to_a_host_that_is_not_listed_is_named() -> None:
    """The host, and nothing of the address that may be secret."""
    onward = {"Location": "https://sso.example.in/in?ticket=hidden"}
    server = PageServer(status=302, headers=onward, body=b"")
    async with server.serving():
        result = await look(server)
    assert result.cause is Cause.REDIRECTED
    assert "https://sso.example.in," in result.detail and "hidden" not in result.detail


async def test_a_redirect_loop_ends() -> None:
    """After the limit of pages."""
    server = PageServer(status=302, headers={"Location": "/"}, body=b"")
    async with server.serving():
        result = await look(server)
    assert result.cause is Cause.REDIRECTED
    assert len(server.requests) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("here", "location", "followed"),
    [
        ("http://localhost/", "https://localhost/", True),
        ("http://localhost/", "https://elsewhere/", False),
        ("http://elsewhere/", "https://localhost/in", False),
        ("https://localhost/", "http://localhost/", False),
        ("https://localhost/", "https://sso.elsewhere/", True),
        ("https://localhost/", "https://other.elsewhere/", False),
        ("http://localhost/", "http://127.0.0.1/", False),
        ("https://localhost/a/", "b", True),
        ("https://localhost/", "file:///etc/passwd", False),
        ("https://localhost/", "ftp://localhost/", False),
        ("https://localhost/", "", False),
        ("https://localhost/", "https://[", False),
    ],
)
def test_where_a_redirect_may_lead(here: str, location: str, followed: bool) -> None:
    """To its own host and those listed, never back to plain text, and never by another scheme."""
    requested = order(here, hosts=("sso.elsewhere",))
    assert (requested.next_page(URL(here), location) is not None) is followed


def test_a_redirect_takes_no_credentials_along() -> None:
    """A password in an address is not used."""
    there = order("https://a/").next_page(URL("https://a/"), "https://user:secret@a/")
    assert str(there) == "https://a/"


async def test_proxies_of_the_environment_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their password, which nothing repeats; `no_proxy` leads past them."""
    async with PageServer().serving() as proxy, PageServer().serving() as server:
        monkeypatch.setenv("http_proxy", f"http://user:hidden@127.0.0.1:{proxy.port}")
        result = await look(server)
        assert result.proxied and len(proxy.requests) == 1 and server.requests == []
        assert "Proxy-Authorization: Basic" in proxy.requests[0]
        assert "hidden" not in str(result.to_message())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert not (await look(server)).proxied and len(server.requests) == 1
    monkeypatch.delenv("no_proxy")
    result = await look(server)
    assert result.cause is Cause.PROXY_FAILED and "hidden" not in str(result.to_message())


# -- the two halves


@dataclass
class ServiceAgent:
    """An agent in the same event loop, or one that only says `message`."""

    message: Mapping[str, Any] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    office: str = "potka"
    address: str | None = None
    features: frozenset[str] = frozenset({"service"})
    in_browser: bool = False
    behind_proxy: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start the agent's half."""
        ours, theirs = channel_pair()
        self.params = dict(params)
        context = AgentContext(self.office, SystemClock(), "https://127.0.0.1:9797", None)
        half = (
            theirs.send(self.message) if self.message is not None else self._half(theirs, context)
        )
        self.tasks.append(asyncio.create_task(half))
        return ours

    async def _half(self, channel: Channel, context: AgentContext) -> None:
        with contextlib.suppress(ChannelClosed):
            await agent_task(channel, json.loads(json.dumps(self.params)), context)

    async def is_stalled(self) -> bool:
        """Not known."""
        return False

    def serve_transfer(self, handler: Any) -> str:
        """Not used by visits."""
        raise NotImplementedError


def context_of(url: str, agent: AgentLink | None, *, hub: bool = False) -> ProbeContext:
    """A run of the service `e-office`."""
    services = [{"name": "e-office", "url": url, "expect": "e-Office"}]
    config = make_config(probes={"service": {"services": services, "timeout": "2s"}})
    place = headquarters_office(config) if hub else config.offices[0]
    return ProbeContext(config, place, SystemClock(), agent, {"service": "e-office"})


async def test_office_and_headquarters_measure_the_same_way() -> None:
    """The agent gets the address from the hub; both ends give the same quantities."""
    async with PageServer().serving() as server:
        agent = ServiceAgent()
        there = await run(context_of(server.url, agent))
        here = await run(context_of(server.url, None, hub=True))
    assert agent.params["url"] == server.url
    assert (there.conditions["end"], here.conditions["end"]) == ("office", "headquarters")
    assert set(there.values) == set(here.values) >= {"total_seconds", "status_code", "bytes"}
    assert 9000 <= there.conditions["bytes_spent"] <= 20_000
    assert not any("127.0.0.1" in str(value) for value in there.conditions.values())


async def test_an_agent_program_makes_the_visit(tmp_path: Path) -> None:
    """Over its session with the hub, as every other test."""
    async with (
        PageServer().serving() as server,
        Endpoint().open() as endpoint,
        running(make_agent(endpoint, tmp_path / "spool")),
    ):
        reading = await run(context_of(server.url, await endpoint.session("potka")))
    assert reading.values["status_code"] == 200


async def test_what_is_not_there_is_not_measured() -> None:
    """No agent; no such service."""
    with pytest.raises(NoData, match="no_agent"):
        await run(context_of("http://localhost/", None))
    other = replace(context_of("http://localhost/", ServiceAgent()), options={"service": "csc"})
    with pytest.raises(NoData, match="not_configured"):
        await run(other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "file:///etc/passwd"}, {"url": 5}, {"hosts": "x"}, {"hosts": [1]},
        {"seconds": "9"}, {"most": None}, {"expect": 5}, {"ca": 5}, {"ca": "x" * 200_000},
    ],
)  # fmt: skip
def test_an_agent_reads_only_what_is_an_order(wrong: dict[str, Any]) -> None:
    """Whatever a hub says."""
    params = order("http://localhost/").to_params() | {"hosts": []} | wrong
    with pytest.raises(ValueError, match=r"must|needs"):
        VisitOrder.from_params(params)


def test_an_agent_keeps_limits_of_its_own() -> None:
    """A hub cannot keep it reading for an hour."""
    params = order("http://a/", seconds=9e9, most=10**12).to_params() | {"hosts": []}
    found = VisitOrder.from_params(params)
    assert (found.seconds, found.most) == (120.0, 5_000_000)


GOOD: dict[str, Any] = {
    "seconds": {"connect": 0.1, "first_byte": 0.2, "transfer": 0.1}, "total": 0.4, "bytes": 900,
    "spent": 10_000, "requests": 1, "status": 200, "certificate_expires": None, "truncated": False,
    "proxied": False, "cause": None, "phase": None, "detail": "",
}  # fmt: skip


def judged(**changes: Any) -> Reading:
    """What the hub makes of a report."""
    return reading_of(GOOD | changes, order("http://a/"), "office", time.time(), 2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total": -1}, {"total": float("nan")}, {"total": float("inf")}, {"total": "1"},
        {"total": True}, {"total": 99.0}, {"total": 3.5}, {"total": 0.2}, {"seconds": None},
        {"seconds": {"connect": -0.1}}, {"seconds": {"lunch": 1.0}}, {"seconds": {}},
        {"seconds": {"connect": "x"}}, {"bytes": 10**9}, {"bytes": None}, {"spent": 10**9},
        {"requests": 99}, {"status": 5}, {"status": 1000}, {"status": "200"},
        {"certificate_expires": 1e15}, {"certificate_expires": -1}, {"cause": "no_agent"},
        {"cause": "budget_spent"}, {"cause": ["x"]},
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_so_is_not_believed(wrong: dict[str, Any]) -> None:
    """Each figure has its range."""
    with pytest.raises(NoData, match="bad_report"):
        judged(**wrong)


def test_a_report_of_a_failure_keeps_what_was_measured() -> None:
    """Its phases, the phase in which it broke off, and a short text without control characters."""
    with pytest.raises(Failed) as found:
        judged(cause="timeout", phase="transfer", detail="a\x1b[31m" + "b" * 500,
               seconds={"connect": 0.1})  # fmt: skip
    error: ProbeError = found.value
    assert error.values == {"connect_seconds": 0.1, "status_code": 200}
    assert error.conditions["phase"] == "transfer"
    assert len(error.detail) <= 100 and error.detail.isprintable()
    with pytest.raises(NoData, match="host_overloaded"):
        judged(cause="host_overloaded")


async def test_a_busy_computer_is_not_a_slow_service() -> None:
    """An agent that stalls for most of the visit reports it."""

    async def hog() -> None:
        for _ in range(8):
            time.sleep(0.3)  # noqa: ASYNC251 - that is the point
            await asyncio.sleep(0)

    async with PageServer(wait=1.0).serving() as server:
        hogging = asyncio.create_task(hog())
        result = await once(server)
        await hogging
    assert result.cause is Cause.HOST_OVERLOADED


def test_a_visit_by_hand_names_its_service() -> None:
    """By its configured name."""
    parse = PROBES["service"].parse_options
    assert parse({"service": "e-office"}) == {"service": "e-office"}
    for wrong in ({}, {"service": "E Office"}, {"service": 5}, {"url": "http://a/"}):
        with pytest.raises(Exception, match="service"):
            parse(wrong)
