"""Strangers at a running hub: HTTP by its own OpenAPI description, and sessions of agents."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from jharnet_monitor.security.accounts import Role, make_account, write_accounts
from jharnet_monitor.security.tokens import hash_token, write_secret
from jharnet_monitor.web.openapi import document
from tests.faults.fuzz_inputs import TEXTS, any_value, as_json, changed, changed_json

API_TOKEN, OFFICE_TOKEN = "fuzz-token-of-the-api-0123456789abcdef", "fuzz-token-of-potka-0123456789"
PASSWORD = "correct horse battery"
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X")
ANSWER_SECONDS = 20.0
HELLO = {
    "type": "hello", "protocol": 1, "features": ["bandwidth"], "boot_id": "b1",
    "uptime_seconds": 5.0, "spooled": 0, "version": "0.1.0",
}  # fmt: skip
MEASUREMENT = {
    "id": "0123456789abcdef0123456789abcdef", "office": "potka", "probe": "latency",
    "started_at": "2026-11-25T06:00:00Z", "duration_seconds": 2.0, "outcome": "ok", "cause": None,
    "conditions": {"path": "agent_hub", "boot_id": "b1"},
    "values": {"sent": 20.0, "received": 20.0, "loss_ratio": 0.0, "rtt_p50_seconds": 0.02},
}  # fmt: skip
FRAMES: tuple[dict[str, Any], ...] = (
    HELLO,
    {"type": "heartbeat", "boot_id": "b1", "uptime_seconds": 6.0, "spooled": 0},
    {"type": "measurements", "items": [MEASUREMENT]},
    {"type": "channel", "id": 1, "data": {"rate": 1}},
    {"type": "closed", "id": 1, "why": "done"},
    {"type": "goodbye"},
)


@dataclass(slots=True)
class RunningHub:
    """A hub in a process of its own."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    def faults(self) -> list[str]:
        """Entries of its log that report an error of its own."""
        text = (self.directory / "log").read_text("utf-8", "replace")
        wrong = re.compile(r"Traceback|unexpected error|Task exception|never retr")
        entries = re.split(r"(?m)^(?=\d{4}-\d\d-\d\d \d\d:)", text)
        return [one[:300] + " ... " + one[-700:] for one in entries if wrong.search(one)]

    def restart_if_gone(self) -> bool:
        """Whether it had ended; then it is started again."""
        if self.process.poll() is None:
            return False
        self.process = _start(self.directory)
        return True


def _start(directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "jharnet_monitor", "run",
             "--config", str(directory / "jharnet.yaml"), "--log-level", "warning"],
            cwd=directory, stdout=log, stderr=log,
        )  # fmt: skip


@asynccontextmanager
async def hub(directory: Path) -> AsyncIterator[RunningHub]:
    """A hub of two offices on loopback, with a token, an account, and no traffic of its own."""
    port = _free_port()
    config = {
        "district": {"id": "d", "name": "D", "name_hi": "डी"},
        "hub": {
            "listen": f"127.0.0.1:{port}", "tls": False, "api_token_file": "secrets/api",
            "accounts_file": "secrets/accounts", "uplink": {"contracted": "34 Mbit/s"},
            "access_log_days": 0,
        },
        "offices": [
            {"id": "potka", "name": "Potka", "name_hi": "पोटका", "pc": "127.0.0.2",
             "agent": {"token_hash_file": "secrets/potka"}},
            {"id": "boram", "name": "Boram", "name_hi": "बोड़ाम", "pc": "127.0.0.3"},
        ],
    }  # fmt: skip
    (directory / "jharnet.yaml").write_text(json.dumps(config), "utf-8")
    write_secret(directory / "secrets/api", API_TOKEN + "\n")
    write_secret(directory / "secrets/potka", hash_token(OFFICE_TOKEN) + "\n")
    account = make_account("ravi", Role.READ, PASSWORD, "2026-11-25T00:00:00Z")
    write_accounts(directory / "secrets/accounts", {"ravi": account})
    running = RunningHub(directory, port, _start(directory))
    try:
        async with asyncio.timeout(300):
            while not await _answers(port):
                if running.process.poll() is not None:
                    raise RuntimeError((directory / "log").read_text("utf-8")[-2000:])
                await asyncio.sleep(0.2)
        yield running
    finally:
        running.process.terminate()
        running.process.wait(30)


def _free_port() -> int:
    """A port below those that Linux gives to clients, which would take it meanwhile."""
    for port in range(21_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


async def _answers(port: int) -> bool:
    try:
        status, _ = await Connection(port).ask(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
    except (ConnectionError, OSError, asyncio.IncompleteReadError):
        return False
    return status == 200


class Connection:
    """A connection that sends whatever it is given, and reads the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, raw: bytes, *, head: bool = False) -> tuple[int | None, str]:
        """The status and headers; None where the hub hung up. Raises `TimeoutError`."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        try:
            writer.write(raw)
            async with asyncio.timeout(ANSWER_SECONDS):
                headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status = int(headers.split(" ", 2)[1])
                await self._skip_body(reader, headers.lower(), head or status in (204, 304))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.close()
            return None, ""
        except BaseException:
            self.close()
            raise
        if "connection: close" in headers.lower() or status in (101, 400):
            self.close()
        return status, headers

    async def _skip_body(self, reader: asyncio.StreamReader, headers: str, none: bool) -> None:
        if none:
            return
        if "transfer-encoding: chunked" in headers:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        elif found := re.search(r"content-length: (\d+)", headers):
            await reader.readexactly(int(found[1]))

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and what it is: a request that `changes` anything without valid credentials must
    be refused."""

    raw: bytes
    method: str
    path: str
    must_be_refused: bool


class Requests:
    """Requests made of the OpenAPI description, right ones and changed ones."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._described = document(("latency", "bandwidth", "conference", "service", "utilisation"))
        self._operations = [
            (path, method.upper(), operation)
            for path, methods in self._described["paths"].items()
            for method, operation in methods.items()
            if path != "/agent" and method != "parameters"
        ]

    def __iter__(self) -> Iterator[Request]:
        while True:
            yield self._request()

    def _request(self) -> Request:
        dice = self._dice
        path, method, operation = dice.choice(self._operations)
        query: dict[str, str] = {}
        for parameter in operation.get("parameters", ()):
            one = self._resolved(parameter)
            value = self._value(one["schema"])
            if one["in"] == "path":
                path = path.replace(f"{{{one['name']}}}", _segment(str(value)))
            elif dice.random() < 0.6:
                query[one["name"]] = str(value)
        if dice.random() < 0.05:
            query[dice.choice(TEXTS)] = dice.choice(TEXTS)
        content, body = self._body(operation)
        secured = bool(operation.get("security")) and method == "POST"
        if dice.random() < 0.05:
            method, secured = dice.choice(METHODS), False
        headers, proven = self._headers(path)
        text = f"?{urlencode(query, errors='replace')}" if query else ""
        headers["Content-Type"] = content
        head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        raw = (
            f"{method} {path}{text} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode("utf-8", "replace") + body
        if dice.random() < 0.1:
            cut = raw.index(b"\r\n\r\n") + 4
            start = changed(raw[:cut], dice).strip() or b"x"  # blank lines alone are no request
            raw, secured = start + b"\r\n\r\n" + raw[cut:], False
        return Request(raw, method, path, secured and not proven)

    def _resolved(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Any = part
        while "$ref" in found:
            node: Any = self._described
            for name in found["$ref"].removeprefix("#/").split("/"):
                node = node[name]
            found = node
        return dict(found)

    def _value(self, schema: Mapping[str, Any]) -> Any:
        schema, dice = self._resolved(schema), self._dice
        if dice.random() < 0.3:
            return dice.choice((*TEXTS, *map(str, range(-2, 3)), "9" * 30, "nan"))
        if "enum" in schema:
            return dice.choice(schema["enum"])
        match schema.get("type"):
            case "integer" | "number":
                return dice.choice((0, 1, 5, 100, 10_000, 10_001, -1, 1.5))
            case "object":
                keys = schema.get("properties", {})
                return {k: self._value(v) for k, v in keys.items() if dice.random() < 0.8}
            case _ if schema.get("format") == "date-time":
                return dice.choice(("2026-11-25T06:00:00Z", "2027-01-01T00:00:00+05:30", "x"))
            case _:
                return dice.choice(("potka", "boram", "latency", "runbook", "style.css", "all"))

    def _body(self, operation: Mapping[str, Any]) -> tuple[str, bytes]:
        dice = self._dice
        if "requestBody" not in operation or dice.random() < 0.1:
            return "application/json", b"" if dice.random() < 0.8 else dice.randbytes(30)
        (kind, described), *_ = operation["requestBody"]["content"].items()
        value = self._value(described["schema"])
        if kind.endswith("urlencoded"):
            fields = {k: str(v) for k, v in value.items()} if isinstance(value, dict) else {}
            return kind, urlencode(fields, errors="replace").encode()
        value = changed_json(value, dice) if isinstance(value, dict) and value else any_value(dice)
        raw = as_json(value).encode("utf-8", "replace")
        return kind, changed(raw, dice) if raw and dice.random() < 0.2 else raw

    def _headers(self, path: str) -> tuple[dict[str, str], bool]:
        """Headers, and whether they authenticate the sender."""
        dice = self._dice
        headers: dict[str, str] = {}
        proven = False
        kind = dice.random()
        if kind < 0.25 and not path.endswith("/latency"):
            headers["Authorization"], proven = f"Bearer {API_TOKEN}", True
        elif kind < 0.5:
            text = dice.choice((API_TOKEN[:-1], API_TOKEN + "x", *TEXTS))
            headers["Authorization"] = "Bearer " + re.sub(r"[\r\n\x00]", "", text)
        if dice.random() < 0.3:
            cookie = dice.choice(("jharnet_session", "jharnet_lang", "x"))
            value = re.sub(r"[\r\n\x00]", "", dice.choice(TEXTS))[:300]
            headers["Cookie"] = f"{cookie}={value}"
        if dice.random() < 0.4:
            headers["Origin"] = dice.choice(("http://127.0.0.1", "http://[", "null", "x"))
        for name in ("Accept", "Accept-Language", "Accept-Encoding", "If-None-Match", "Range"):
            if dice.random() < 0.1:
                headers[name] = re.sub(r"[\r\n\x00]", "", dice.choice(TEXTS))[:300]
        return headers, proven


def frames(dice: random.Random, count: int) -> Iterator[str]:
    """Frames of a session, changed as JSON or as text."""
    for _ in range(count):
        frame: Any = dice.choice(FRAMES)
        if dice.random() < 0.9:
            frame = changed_json(frame, dice)
        text = as_json(frame)
        if dice.random() < 0.15:
            text = changed(text.encode(), dice).decode("utf-8", "replace")
        yield text


async def stranger_at_agent_door(
    session: aiohttp.ClientSession, port: int, dice: random.Random
) -> tuple[str, bool]:
    """A session with a token or without, then frames; gives the outcome, and whether a session
    without the right token was accepted."""
    right = dice.random() < 0.7
    token = OFFICE_TOKEN if right else dice.choice((OFFICE_TOKEN[:-1], API_TOKEN, "x", ""))
    office = "potka" if right else dice.choice(("potka", "boram", "", "*", "../x"))
    protocols: tuple[str, ...] = ()
    headers = {"Authorization": f"Bearer {token}"}
    if dice.random() < 0.3:
        protocols, headers = ("jharnet", f"bearer.{token or 'x'}"), {}
    url = f"http://127.0.0.1:{port}/agent?office={quote(office)}"
    welcomed = False
    try:
        async with session.ws_connect(url, headers=headers, protocols=protocols) as socket_:
            hello = {**HELLO, "kind": "browser"} if protocols else HELLO
            text = json.dumps(hello) if dice.random() < 0.7 else next(frames(dice, 1))
            await socket_.send_str(text)
            for frame in frames(dice, dice.randrange(1, 12)):
                if dice.random() < 0.05:
                    await socket_.send_bytes(frame.encode("utf-8", "replace"))
                else:
                    await socket_.send_str(frame.encode("utf-8", "replace").decode())
            async with asyncio.timeout(ANSWER_SECONDS):
                while not socket_.closed:
                    message = await socket_.receive(timeout=0.02)
                    welcomed = welcomed or '"welcome"' in str(message.data)
    except TimeoutError:
        return "stays open", welcomed and not right
    except aiohttp.WSServerHandshakeError as error:
        return f"HTTP {error.status}", False
    except (aiohttp.ClientError, ConnectionError):
        return "hung up", welcomed and not right
    return "closed", welcomed and not right


def _segment(text: str) -> str:
    return quote(text, safe="", errors="replace") or "x"
