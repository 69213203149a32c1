"""A lab with a hub, whose office takes part by the join page; for tests and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from playwright.async_api import Page, expect

from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.probes.latency.page import MAX_LAG_P75
from jharnet_monitor.wire.client import HubClient
from tests import busy_host
from tests.browser_support import chromium, chromium_at
from tests.no_schedule import plan_nothing
from tests.tab_support import Name, Seat, Tab, tab

ARGUMENTS = ("--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection")
OFFICE = "potka"
Scheme = Literal["http", "https"]
WATCHED = """(() => {
  const Peer = RTCPeerConnection;
  window.watched = [];
  window.RTCPeerConnection = class extends Peer {
    constructor(...given) {
      super(...given);
      setInterval(() => this.watch(), 250);
    }
    async watch() {
      if (this.connectionState !== "connected") return;
      const all = [...(await this.getStats()).values()];
      const pair = all.find((entry) => entry.type === "candidate-pair" && entry.nominated);
      const video = all.find((entry) => entry.type === "outbound-rtp" && entry.kind === "video");
      window.watched.push({
        seconds: performance.now() / 1000,
        estimate: pair?.availableOutgoingBitrate ?? null,
        target: video?.targetBitrate ?? null,
        remote: this.remoteDescription?.sdp ?? "",
      });
    }
  };
})()"""
"""A page with this script keeps four times a second what its call's `getStats` says."""

KEEP_BUSY = """window.busy = setInterval(() => {
  const end = performance.now() + 50;
  while (performance.now() < end);
}, 60)"""
"""The thread of a page with this script computes during five sixths of the time ..."""
LET_REST = "clearInterval(window.busy)"
"""... until this one."""


def way(rate: str, delay: str = "15ms", queue: str = "200ms", **more: Any) -> dict[str, Any]:
    """One direction of a line of the lab."""
    return {"delay": delay, "rate": rate, "queue": queue, **more}


def district(contracted: str, down: Mapping[str, Any], up: Mapping[str, Any]) -> dict[str, Any]:
    """One office, whose line is as given, at a fast uplink."""
    return {
        "uplink": {
            "contracted": "100 Mbit/s",
            "truth": {each: {"delay": "1ms", "rate": "100 Mbit/s"} for each in ("down", "up")},
        },
        "offices": [
            {
                "id": OFFICE, "name": "Potka", "name_hi": "पोटका", "subdivision": "Dhalbhum",
                "contracted": contracted, "kind": "leased-line", "absent": True,
                "truth": {"down": dict(down), "up": dict(up)},
            }
        ],
    }  # fmt: skip


class PageLab:
    """A lab whose hub runs; `settings` are changes of the hub's configuration."""

    def __init__(self, place: LabPlace, installation: Installation, scheme: Scheme) -> None:
        self._place = place
        self._installation = installation
        self._scheme = scheme
        self.programs = Programs(place, installation)

    @classmethod
    @contextmanager
    def started(
        cls,
        data: Mapping[str, Any],
        directory: Path,
        scheme: Scheme = "https",
        prefix: str = "jhpage",
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[PageLab]:
        """Lab and hub, until the end of the block."""
        place = LabPlace(data, prefix)
        installation = Installation(directory / f"hub-{scheme}", directory / "reports")
        installation.directory.mkdir()
        found = cls(place, installation, scheme)
        try:
            install(place, data, installation, datetime.now(UTC))
            config = yaml.safe_load(installation.config.read_text("utf-8"))
            plan_nothing(config)
            if scheme == "http":
                config["hub"]["tls"] = "off"
            _merge(config, settings or {})
            installation.config.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
            found.programs.start_hub()
            found.wait()
            yield found
        finally:
            found.programs.stop()
            place.close()

    @property
    def lab(self) -> Lab:
        """The lab."""
        return self._place.lab

    @property
    def directory(self) -> Path:
        """Where the hub's files are; removed by whoever made its parent."""
        return self._installation.directory

    @property
    def authority(self) -> Path:
        """The certificate of the district's authority, as it is imported at an office."""
        return self.directory / "tls/ca.pem"

    @property
    def base(self) -> str:
        """The hub's address."""
        return f"{self._scheme}://{self._place.hub_address}:{PORT}"

    @property
    def link(self) -> str:
        """What `jharnet-monitor token` prints for the office."""
        return self.link_of(OFFICE)

    def link_of(self, office: str) -> str:
        """The same for any office."""
        return f"{self.base}/join/{office}#t={self._installation.token(office).read_text().strip()}"

    @property
    def log(self) -> str:
        """What the hub has logged."""
        return self._installation.log("hub").read_text("utf-8")

    def wait(self, seconds: float = 180) -> None:
        """Wait until the hub answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.programs.check()
            with contextlib.suppress(TemporaryError):
                self.get("/api/v1/offices")
                return
            time.sleep(0.3)
        raise TimeoutError("the hub does not answer")

    def kill_hub(self) -> None:
        """End the hub as a power cut does."""
        self.programs.kill("hub")

    def restart_hub(self) -> None:
        """Kill it, start it again, and wait until it answers."""
        self.kill_hub()
        self.programs.start_hub()
        self.wait()

    def _client(self) -> HubClient:
        token = self._installation.api_token.read_text().strip()
        return HubClient(self.base, token, self._installation.directory / "tls/hub.pem")

    def get(self, path: str) -> Any:
        """The JSON of the hub's API, asked at headquarters."""
        return self._ask(lambda client: client.get(path))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The same of a POST."""
        return self._ask(lambda client: client.post(path, body))

    def _ask(self, ask: Callable[[HubClient], Any]) -> Any:
        """Ask in a thread of its own, which has no event loop and can move to headquarters."""

        def there() -> Any:
            with self.lab.inside(HEADQUARTERS):
                return ask(self._client())

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(there).result()

    async def probe(self, probe: str, **options: Any) -> dict[str, Any]:
        """Run a probe on the office; its measurement."""
        address = f"/api/v1/offices/{OFFICE}/probes/{probe}"
        result: dict[str, Any] = await asyncio.to_thread(self.post, address, options)
        return result

    async def undisturbed(self, probe: str, **options: Any) -> dict[str, Any]:
        """As `probe`, repeated where this machine was too busy for a result, or for the line."""

        async def measured() -> dict[str, Any]:
            self.lab.reset()
            return await self.probe(probe, **options)

        return await busy_host.undisturbed(measured, lambda: busy_host.line_was_late(self.lab))

    def hold_round_trips(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hold those of a page's heartbeats over a line of 40 ms, in the first row that measured:
        one without a round trip says how late the page was."""
        measured = [row for row in rows if row["outcome"] == "ok"]
        assert measured, rows
        late = (measured[0]["conditions"].get("agent_loop_lag_p75_seconds") or 0.0) > MAX_LAG_P75
        assert late or 0.03 < measured[0]["values"].get("rtt_min_seconds", 0) < 0.1, measured[0]

    async def measurements(self, probe: str, path: str) -> list[dict[str, Any]]:
        """What the hub has stored of the office by this probe over this path."""
        address = f"/api/v1/measurements?office={OFFICE}&probe={probe}&limit=1000"
        found = await asyncio.to_thread(self.get, address)
        rows = found["measurements"] if isinstance(found, dict) else found
        return [row for row in rows if row["conditions"].get("path") == path]

    @asynccontextmanager
    async def page(self, directory: Path, *arguments: str) -> AsyncIterator[Page]:
        """A real Chromium on the office's PC that has joined by a click."""
        program = chromium_at(self.lab, OFFICE, directory)
        async with chromium(*ARGUMENTS, *arguments, program=program) as browser:
            page = await browser.new_page(ignore_https_errors=self._scheme == "https")
            page.set_default_timeout(90_000)
            await page.goto(self.link)
            await page.locator("#go").click()
            await until_state(page, "waiting")
            yield page

    @asynccontextmanager
    async def tab(
        self, name: Name, directory: Path, *arguments: str, authorities: Sequence[Path] = ()
    ) -> AsyncIterator[Tab]:
        """A tab of that browser on the office's PC, which has opened nothing yet."""
        seat, profile = Seat(self.lab, OFFICE), directory / name
        async with tab(name, profile, *arguments, seat=seat, authorities=authorities) as found:
            yield found


async def until_state(page: Page, state: str, seconds: float = 120) -> None:
    """Wait until the page is in this state."""
    await expect(page.locator("#join")).to_have_attribute(
        "data-state", state, timeout=1000 * seconds
    )


def _merge(into: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value
