"""The messages of agents and commands while no hub can be reached: real connections and
certificates."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from jharnet_monitor.agent import daemon
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands import drill
from jharnet_monitor.commands.agent import _agent_settings
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.security import tls
from jharnet_monitor.security.tokens import write_secret
from jharnet_monitor.wire.client import HubClient
from tests.support import make_config

NOW = datetime.now(UTC)
Log = pytest.LogCaptureFixture


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, caplog: Log) -> None:
    """Agents of these tests retry many times a second."""
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(daemon, "LAST_RETRY_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "jharnet_monitor.agent.daemon")


def made(directory: Path, now: datetime = NOW) -> tls.Files:
    """An authority with a hub's certificate for 127.0.0.1."""
    files = tls.Files(directory)
    tls.make_authority(files, "test", now)
    tls.make_certificate(files, [], [ip_address("127.0.0.1")], now)
    return files


@asynccontextmanager
async def door(files: tls.Files | None) -> AsyncIterator[tuple[int, list[int]]]:
    """A port that speaks TLS, or ends every connection; counts connections over TLS and TCP."""
    came: list[int] = []

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        writer.close()

    context = None if files is None else tls.server_context(files)
    server = await asyncio.start_server(ends, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], came


async def log_lines(
    caplog: Log, tmp_path: Path, hub: str, ca: Path | None = None,
    tried: Callable[[], bool] = lambda: True,
) -> list[tuple[str, str]]:  # fmt: skip
    """Level and text of the lines that an agent logs until it has `tried` and said something, and
    within a moment of retries after that."""

    def lines() -> list[tuple[str, str]]:
        return [
            (record.levelname, record.message)
            for record in caplog.records
            if record.name == "jharnet_monitor.agent.daemon"
        ]

    agent = Agent(AgentSettings(hub, "potka", "token", tmp_path / "spool", ca), SystemClock())
    task = asyncio.create_task(agent.run())
    async with asyncio.timeout(30):
        while not (lines() and tried()):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.6)
    agent.stop()
    await asyncio.wait_for(task, 30)
    return lines()


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("no ca", "give --ca ca.pem, a copy of the file that `jharnet-monitor tls init` made"),
        ("foreign ca", "ca.pem is not the authority that signed it: copy ca.pem from the hub"),
        ("other name", "the certificate is not for the address in --hub"),
        ("expired", "the certificate has expired: run `jharnet-monitor tls init --renew`"),
    ],
)
async def test_an_untrusted_certificate_is_reported_once_with_its_remedy(
    caplog: Log, tmp_path: Path, fault: str, remedy: str
) -> None:
    """The likeliest mistake of a first installation: one WARNING, not one per retry."""
    now = NOW - timedelta(days=900) if fault == "expired" else NOW
    files = made(tmp_path / "tls", now)
    if fault == "expired":  # its authority lives on
        assert tls.certificate_expires(files.certificate) < NOW
    ca = {"no ca": None, "foreign ca": made(tmp_path / "foreign").authority}.get(
        fault, files.authority
    )
    host = "localhost" if fault == "other name" else "127.0.0.1"
    async with door(files) as (port, came):
        lines = await log_lines(caplog, tmp_path, f"wss://{host}:{port}/agent", ca)
    assert not came, "nobody got in"
    [(level, text)] = lines
    assert level == "WARNING" and remedy in text and "\n" not in text


async def test_a_hub_that_does_not_answer_is_reported_once_in_plain_words(
    caplog: Log, tmp_path: Path
) -> None:
    """No object of a library, no list of addresses; a line again once the cause changes."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    lines = await log_lines(caplog, tmp_path, f"ws://127.0.0.1:{port}/agent")
    assert lines == [("INFO", "cannot reach the hub, retrying: connection refused")]
    caplog.clear()
    async with door(None) as (port, came):
        address = f"wss://127.0.0.1:{port}/agent"
        lines = await log_lines(caplog, tmp_path, address, tried=lambda: len(came) > 1)
    assert len(lines) == 1 and "0x" not in lines[0][1]


def test_an_authority_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    """A file that is no certificate: one line, no traceback."""
    ca, token = tmp_path / "ca.pem", tmp_path / "token"
    ca.write_text("no certificate")
    write_secret(token, "token")
    given = {"hub": "wss://127.0.0.1:9797/agent", "office": "potka", "token_file": token, "ca": ca}
    with pytest.raises(
        UserError, match=r"ca\.pem: is not a PEM certificate; give the ca\.pem that"
    ):
        _agent_settings(given, None)


async def test_a_command_says_that_no_hub_answers_and_what_to_do(tmp_path: Path) -> None:
    """The address, the reason, and how to start a hub; no object of a library."""
    files = made(tmp_path / "tls")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        base = f"https://127.0.0.1:{one.getsockname()[1]}"
    says = await asyncio.to_thread(_refusal, HubClient(base, None, files.certificate))
    assert says.startswith(f"no hub answers at {base} (connection refused): is it running?")
    assert "`hub.listen`" in says and "0x" not in says and "ssl:" not in says
    async with door(files) as (port, _):
        client = HubClient(f"https://127.0.0.1:{port}", None, made(tmp_path / "new").certificate)
        says = await asyncio.to_thread(_refusal, client)
    assert "shows another certificate than" in says and "restart the hub" in says


def _refusal(client: HubClient) -> str:
    with pytest.raises((UserError, TemporaryError)) as error:
        client.get("/api/v1/offices")
    return str(error.value)


def test_a_drill_of_no_profile_is_refused_before_any_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Missing options are reported without a hub."""
    monkeypatch.setattr(drill, "load_config", lambda path: make_config())
    with pytest.raises(UserError, match="--profile: no profile `8k`; there are audio, 180p"):
        drill.drill("8k", 5.0)
