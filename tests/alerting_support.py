"""A whole district with its alerting, for tests: lab, hub, agents, Prometheus, Alertmanager, and a
receiver of messages. What is shipped is used as it is; only waiting times are shorter."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from jharnet_monitor.demo.flow import Demo
from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.relay import Relay
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.lab.layout import HEADQUARTERS
from jharnet_monitor.wire.client import HubClient
from tests.exporters_support import EXPORTERS, alertmanager, prometheus, read_yaml
from tests.no_schedule import plan_nothing, zone_at_noon

MINUTE = 2
"""Seconds that stand for a minute in the rules' `for`."""


def _line(delay: str, **more: Any) -> dict[str, Any]:
    way = {"delay": delay, "rate": "4 Mbit/s", "queue": "200ms", **more}
    return {"down": way, "up": way}


def _office(name: str, hindi: str, truth: dict[str, Any]) -> dict[str, Any]:
    return {"id": name.lower(), "name": name, "name_hi": hindi, "subdivision": "Dhalbhum",
            "contracted": "4 Mbit/s", "kind": "leased-line", "truth": truth}  # fmt: skip


DISTRICT = {
    "uplink": {"contracted": "34 Mbit/s", "truth": _line("1ms") | {
        way: {"delay": "1ms", "rate": "34 Mbit/s", "queue": "100ms"} for way in ("down", "up")}},
    "offices": [_office("Potka", "पोटका", _line("12ms")),
                _office("Dumaria", "डुमरिया", _line("20ms"))],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert in one message."""

    at: float
    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(slots=True)
class Inbox:
    """All deliveries, in order."""

    deliveries: list[Delivery] = field(default_factory=list)

    def since(self, moment: float) -> list[Delivery]:
        """Deliveries after a moment, without those about the monitor itself: the sign of life, and
        that the clock of a test machine is not disciplined."""
        return [d for d in self.deliveries if d.at >= moment and d.labels["team"] != "monitor"]

    def first(
        self,
        since: float,
        name: str,
        status: str,
        seconds: float,
        office: str | None = None,
        receiver: str | None = None,
    ) -> Delivery:
        """The first delivery of an alert in a status, of an office and to a receiver where named;
        fails when it does not come in time."""
        wanted = (name, status)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for one in self.deliveries:
                here = office in (None, one.labels.get("office")) and one.at >= since
                here = here and receiver in (None, one.receiver)
                if here and (one.labels["alertname"], one.status) == wanted:
                    return one
            time.sleep(0.1)
        raise AssertionError(f"no {status} {name} within {seconds:g} s: {self.since(since)}")


@dataclass(frozen=True, slots=True)
class Stack:
    """The district, the receiver of messages, and where Prometheus answers (inside
    headquarters)."""

    demo: Demo
    inbox: Inbox
    prometheus: str

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """The thread at headquarters, where Prometheus and Alertmanager are."""
        return self.demo.place.entered(HEADQUARTERS)


@contextlib.contextmanager
def stack(directory: Path, prefix: str) -> Iterator[Stack]:
    """Everything running, every agent connected."""
    with contextlib.ExitStack() as todo:
        demo = todo.enter_context(_district(directory, prefix))
        demo.wait_for_agents()
        with demo.place.entered(HEADQUARTERS):
            inbox = Inbox()
            receiver_url = todo.enter_context(_receiver(inbox))
            routes = directory / "alertmanager.yml"
            routes.write_text(yaml.safe_dump(_routes(receiver_url)), "utf-8")
            alertmanager_url = todo.enter_context(alertmanager(routes, directory))
            watches = _watches(directory, demo, alertmanager_url)
            url = todo.enter_context(prometheus(watches, directory))
        yield Stack(demo, inbox, url)


@contextlib.contextmanager
def _district(directory: Path, prefix: str) -> Iterator[Demo]:
    """Hub and agents as the demo starts them, with offices that are always open."""
    with contextlib.ExitStack() as todo:
        place = LabPlace(DISTRICT, prefix)
        todo.callback(place.close)
        (directory / "reports").mkdir()
        here = Installation(directory / "hub", directory / "reports")
        here.directory.mkdir()
        install(place, DISTRICT, here, datetime.now(UTC))
        _change(here.config, _for_the_test)
        programs = Programs(place, here)
        todo.callback(programs.stop)
        programs.start_speedtest_server()
        programs.start_hub()
        for office in ("potka", "dumaria"):
            programs.start_agent(office)
        relay = Relay(place, (place.hub_address, PORT), here.ca)
        todo.callback(relay.close)
        hub = HubClient(relay.url, here.api_token.read_text().strip())
        yield Demo(place, DISTRICT, here, Console(quiet=True), programs, hub)


def _for_the_test(config: dict[str, Any]) -> None:
    plan_nothing(config, zone_at_noon())
    config["probes"]["latency"] = {"every": "5s", "packets": 25}
    config["thresholds"] = {"outage": f"{2 * MINUTE}s"}
    for number, office in enumerate(config["offices"]):
        office |= {"latitude": 22.6 + number / 10, "longitude": 86.2}


def _change(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = read_yaml(file)
    change(content)
    file.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")


def _routes(receiver_url: str) -> dict[str, Any]:
    """The shipped routes and inhibitions; all receivers lead to the test, without waiting times."""
    config = read_yaml(EXPORTERS / "alertmanager" / "alertmanager.yml")
    receivers = []
    for receiver in config["receivers"]:
        [settings] = receiver.get("email_configs") or receiver["webhook_configs"]
        resolved = settings.get("send_resolved", True)
        hook = {"url": f"{receiver_url}/{receiver['name']}", "send_resolved": resolved}
        receivers.append({"name": receiver["name"], "webhook_configs": [hook]})
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    return {
        "route": config["route"],
        "receivers": receivers,
    }


def _watches(directory: Path, demo: Demo, alertmanager_url: str) -> Path:
    """The shipped scrape configuration and rules, every second and with shorter `for`."""
    config = read_yaml(EXPORTERS / "prometheus" / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [targets] = config["alerting"]["alertmanagers"][0]["static_configs"]
    targets["targets"] = [alertmanager_url.removeprefix("http://")]
    scrape = config["scrape_configs"][0]
    config["scrape_configs"] = [scrape]  # the others are at ports of the test
    scrape["static_configs"][0]["targets"] = [f"{demo.place.hub_address}:{PORT}"]
    scrape["tls_config"]["ca_file"] = str(demo.installation.ca)
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    rules = directory / "rules"
    shutil.copytree(EXPORTERS / "prometheus" / "rules", rules)
    for one in rules.iterdir():
        text = re.sub(r"(for: )(\d+)m\b", lambda m: f"{m[1]}{int(m[2]) * MINUTE}s",
                      one.read_text("utf-8"))  # fmt: skip
        text = text.replace("    interval: 15m\n", "    interval: 5s\n")
        one.write_text(text, "utf-8")
    return file


@contextlib.contextmanager
def _receiver(inbox: Inbox) -> Iterator[str]:
    """A webhook receiver; its path names the receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Keep what came."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                inbox.deliveries.append(
                    Delivery(time.monotonic(), self.path.strip("/"), alert["status"],
                             alert["labels"], alert["annotations"])
                )  # fmt: skip
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
