"""A tab of a real Chromium or Firefox, asked in the browser's own protocol; for tests and runs.

Playwright drives Chromium elsewhere, but it keeps every page in sight, and it cannot drive Debian's
Firefox (its BiDi asks for `emulation.setMediaFeaturesOverride`, which Firefox 153 lacks). So here
Chromium is asked by its DevTools protocol and Firefox by WebDriver BiDi (W3C). Both can run at an
office of the lab.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp

from jharnet_monitor.lab import Lab
from tests.browser_support import QUIET
from tests.conftest import find_program

Name = Literal["chromium", "firefox"]
CHROMIUM = (*QUIET, "--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection")
FIREFOX: Mapping[str, bool | int | str] = {
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.gmp-manager.updateEnabled": False,
    "media.peerconnection.ice.loopback": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}
"""It sends nothing of its own, and a call may stay on this computer."""
START_SECONDS = 60.0
STATE = "document.getElementById('join')?.dataset.state"


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a browser runs: at an office of the lab, or on this computer."""

    lab: Lab | None = None
    office: str = ""

    def command(self, *argv: str) -> list[str]:
        """The command that runs a program there."""
        if self.lab is None:
            return list(argv)
        return ["ip", "netns", "exec", self.lab.namespace(self.office), *argv]

    def session(self) -> aiohttp.ClientSession:
        """An HTTP client whose connections begin there, as a browser listens on its loopback."""
        connector = aiohttp.TCPConnector(socket_factory=self._socket)
        return aiohttp.ClientSession(connector=connector)

    def _socket(self, address: Any) -> socket.socket:
        def there() -> socket.socket:
            with self.lab.inside(self.office) if self.lab else nullcontext():
                return socket.socket(address[0], address[1], address[2])

        with ThreadPoolExecutor(1) as thread:  # the thread of the event loop stays where it is
            made = thread.submit(there).result()
        made.setblocking(False)
        return made


HERE = Seat()


class Wire:
    """A connection to a browser; both protocols number the commands and answer by the number."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._requested = 0
        self._one_at_a_time = asyncio.Lock()

    async def order(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to a command of its protocol; raises `RuntimeError`."""
        async with self._one_at_a_time:
            self._requested += 1
            order = {"id": self._requested, "method": method, "params": params}
            await self._socket.send_json(order)
            while (answer := await self._socket.receive_json()).get("id") != self._requested:
                pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {json.dumps(answer)[:400]}")
        result: dict[str, Any] = answer["result"]
        return result


class Tab(ABC):
    """One tab. Whatever is asked is asked as after a click: sound may begin."""

    def __init__(self, wire: Wire) -> None:
        self.order = wire.order

    @abstractmethod
    async def ask(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise."""

    @abstractmethod
    async def open(self, address: str) -> None:
        """Go to an address; the same one again loads it again."""

    @abstractmethod
    async def another(self) -> Tab:
        """A tab in front of this one, which is then hidden."""

    async def hide(self) -> None:
        """Open another tab in front, and wait until the page knows."""
        await self.another()
        await self.until("document.hidden", True)

    async def until(self, expression: str, wanted: object, seconds: float = 20) -> None:
        """Ask until the answer is this; raises `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while (last := await self.ask(expression)) != wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{expression} is {last!r} and not {wanted!r}")
            await asyncio.sleep(0.1)

    async def until_state(self, state: str, seconds: float = 120) -> None:
        """Wait until the join page is in this state."""
        await self.until(STATE, state, seconds)

    async def join(self, link: str) -> None:
        """Open a link of an office, and click."""
        await self.open(link)
        await self.until_state("idle")
        await self.ask("document.getElementById('go').click()")
        await self.until_state("waiting")


class ChromiumTab(Tab):
    """A tab by the DevTools protocol."""

    def __init__(self, wire: Wire, http: aiohttp.ClientSession, base: str) -> None:
        super().__init__(wire)
        self._http = http
        self._base = base

    async def ask(self, expression: str) -> Any:
        """See `Tab`."""
        answer = await self.order(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def open(self, address: str) -> None:
        """See `Tab`."""
        await self.order("Page.navigate", url=address)

    async def another(self) -> Tab:
        """See `Tab`."""
        return await self.of(self._http, self._base)

    @classmethod
    async def of(cls, http: aiohttp.ClientSession, base: str) -> Tab:
        """A new tab of the browser that listens there."""
        async with http.put(f"{base}/json/new?about:blank") as answer:
            page = await answer.json()
        socket = await http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        tab = cls(Wire(socket), http, base)
        await tab.order("Security.setIgnoreCertificateErrors", ignore=True)
        return tab


class FirefoxTab(Tab):
    """A tab by WebDriver BiDi; all tabs of one browser share a connection."""

    def __init__(self, wire: Wire, context: str) -> None:
        super().__init__(wire)
        self._wire = wire
        self._context = context

    async def ask(self, expression: str) -> Any:
        """See `Tab`. The value comes as JSON, as BiDi has a notation of its own for values."""
        answer = await self.order(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    async def open(self, address: str) -> None:
        """See `Tab`."""
        await self.order(
            "browsingContext.navigate", context=self._context, url=address, wait="complete"
        )

    async def another(self) -> Tab:
        """See `Tab`."""
        return await self.of(self._wire)

    @classmethod
    async def of(cls, wire: Wire) -> Tab:
        """A new tab in front."""
        made = await wire.order("browsingContext.create", type="tab")
        await wire.order("browsingContext.activate", context=made["context"])
        return cls(wire, made["context"])


@asynccontextmanager
async def tab(
    name: Name,
    profile: Path,
    *arguments: str,
    seat: Seat = HERE,
    authorities: Sequence[Path] = (),
) -> AsyncIterator[Tab]:
    """A tab of a new browser without a screen; it accepts certificates that it does not know.

    A Firefox that is given `authorities` (PEM files) knows them, and accepts no others.
    """
    argv, log = _command(name, profile, arguments), profile / "log"
    if authorities:
        assert name == "firefox", "Chromium has no profile of authorities"
        _import(profile, authorities)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *seat.command(*argv), stdout=out, stderr=out, start_new_session=True
        )
    priority = asyncio.create_task(_keep_priority(process.pid))
    try:
        port = await _port(log, process)
        async with seat.session() as http:
            if name == "chromium":
                yield await ChromiumTab.of(http, f"http://127.0.0.1:{port}")
            else:
                address = f"ws://127.0.0.1:{port}/session"
                wire = Wire(await http.ws_connect(address, max_msg_size=0))
                wanted = {"alwaysMatch": {"acceptInsecureCerts": not authorities}}
                await wire.order("session.new", capabilities=wanted)
                yield await FirefoxTab.of(wire)
    finally:
        priority.cancel()
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _keep_priority(group: int) -> None:
    """Give the browser's processes the priority of a run that was started with `nice -n -10`:
    Chromium sets that of its own pages to 0, and then encodes too slowly beside other programs."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    while ours < 0:
        await asyncio.sleep(1)
        os.setpriority(os.PRIO_PGRP, group, ours)


def _command(name: Name, profile: Path, arguments: Sequence[str]) -> list[str]:
    """What starts the browser, with a profile of its own."""
    profile.mkdir(parents=True, exist_ok=True)
    common = [*arguments, "--remote-debugging-port=0"]
    if name == "chromium":
        own = ["--headless=new", *CHROMIUM, *common, f"--user-data-dir={profile}", "about:blank"]
        return [str(find_program("chromium")), *own]
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in FIREFOX.items()]
    (profile / "user.js").write_text("".join(lines), "utf-8")
    own = ["--headless", "--no-remote", *common, "--profile", str(profile)]
    return [str(find_program("firefox-esr")), *own]


def _import(profile: Path, authorities: Sequence[Path]) -> None:
    """What `Import` in Firefox's settings does with an authority that may identify websites."""
    certutil, database = str(find_program("certutil")), f"sql:{profile}"
    subprocess.run([certutil, "-N", "-d", database, "--empty-password"], check=True)
    for number, file in enumerate(authorities):
        named = ["-n", f"authority {number}", "-t", "C,,", "-a", "-i", str(file)]
        subprocess.run([certutil, "-A", "-d", database, *named], check=True)


async def _port(log: Path, process: asyncio.subprocess.Process) -> int:
    """The port on which a browser says that it listens."""
    async with asyncio.timeout(START_SECONDS):
        while not (found := re.search(r"listening on ws://[^:]+:(\d+)", _text(log))):
            assert process.returncode is None, _text(log)
            await asyncio.sleep(0.1)
    return int(found[1])


def _text(log: Path) -> str:
    return log.read_text("utf-8", "replace")
