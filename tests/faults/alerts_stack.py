"""The real parts of `tests.faults.alerts`: hubs, Prometheus and Alertmanager as shipped, with
shorter times. All of it runs on the loopback of a network namespace of its own, where offices and
gateways are addresses that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.store import Store, Window
from tests.exporters_support import EXPORTERS, get_json, program, read_yaml

MINUTE = 2.0
"""Seconds that stand for a minute in `for`, `keep_firing_for` and the ranges of rules."""
OUTAGE_SECONDS = 2 * MINUTE
OFFICES = ("potka", "boram")
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(EXPORTERS.parent)}
_TABLE = """
table inet jharnet {
  set cut { type ipv4_addr; }
  chain in { type filter hook input priority 0; ip daddr @cut drop; }
}
"""


def enter_namespace() -> None:
    """Run this program again in a network namespace of its own, which ends with it."""
    if os.environ.get("JHARNET_OWN_NETWORK") != "1":
        os.environ["JHARNET_OWN_NETWORK"] = "1"
        argv = ["unshare", "--net", sys.executable, "-m", "tests.faults.alerts", *sys.argv[1:]]
        os.execvp(argv[0], argv)  # noqa: S606 - this program again
    _call("ip", "link", "set", "lo", "up")
    subprocess.run(["nft", "-f", "-"], input=_TABLE, text=True, check=True)


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Message:
    """One notification: its receiver, and every alert in it with its status."""

    at: float
    receiver: str
    group: str
    alerts: tuple[tuple[str, str, str, str, str], ...]
    """Alert, district, office, fingerprint, status."""
    annotations: tuple[dict[str, str], ...]


@dataclass(slots=True)
class Inbox:
    """All notifications in their order."""

    messages: list[Message] = field(default_factory=list)

    @contextlib.contextmanager
    def receiving(self) -> Iterator[str]:
        """Receive; gives the address, to which a receiver's name is added."""
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Keep what came."""
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.messages.append(_message(self.path.strip("/"), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()


def _message(receiver: str, body: dict[str, Any]) -> Message:
    alerts = tuple(
        (a["labels"]["alertname"], a["labels"].get("district", ""), a["labels"].get("office", ""),
         a["fingerprint"], a["status"])
        for a in body["alerts"]
    )  # fmt: skip
    notes = tuple(a["annotations"] for a in body["alerts"])
    return Message(time.monotonic(), receiver, body["groupKey"], alerts, notes)


class Process:
    """A program that can be stopped, killed and started again."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._argv, self._log = argv, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._argv, stdout=out, stderr=out, cwd=self._log.parent, env=_ENVIRONMENT
            )

    def end(self, *, kill: bool = False) -> None:
        """End it in order, or kill it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def reload(self) -> None:
        """SIGHUP."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)


class District:
    """A hub over addresses of the loopback."""

    def __init__(self, number: int, directory: Path) -> None:
        self.id = f"d{number}"
        self.port = 9800 + number
        self._net = f"127.{20 + number}"
        self.directory = directory / self.id
        self.directory.mkdir()
        (self.directory / "jharnet.yaml").write_text(yaml.safe_dump(self._config()), "utf-8")
        argv = [sys.executable, "-m", "jharnet_monitor", "run", "--config", "jharnet.yaml"]
        self.hub = Process(argv, self.directory / "hub.log")

    def _config(self) -> dict[str, Any]:
        hours = {"days": "mon-sun", "from": "00:00", "to": "23:59", "holidays": None}
        return {
            "district": {"id": self.id, "name": self.id.upper(), "name_hi": "ज़िला",
                         "office_hours": hours},
            "hub": {"listen": f"127.0.0.1:{self.port}", "tls": False,
                    "database": "sqlite:///monitor.db",
                    "uplink": {"contracted": "34 Mbit/s", "gateway": f"{self._net}.200.1"}},
            "probes": {"latency": {"every": "5s", "packets": 25, "timeout": "1s"}},
            "thresholds": {"outage": f"{OUTAGE_SECONDS:g}s"},
            "offices": [
                {"id": office, "name": office.title(), "name_hi": "कार्यालय",
                 "router": f"{self._net}.{number}.1"}
                for number, office in enumerate(OFFICES)
            ],
        }  # fmt: skip

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        self.hub.start()
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError):
                get_json(f"http://127.0.0.1:{self.port}/api/v1/offices")
                return
            assert time.monotonic() < deadline, (self.directory / "hub.log").read_text("utf-8")
            time.sleep(0.2)

    def cut(self, what: str, *, already: tuple[str, ...] = ()) -> None:
        """Cut an office, or the uplink and with it all offices."""
        _call("nft", "add", "element", "inet", "jharnet", "cut",
              f"{{ {self._addresses(what, already)} }}")  # fmt: skip

    def restore(self, what: str, *, still_cut: tuple[str, ...] = ()) -> None:
        """Restore it; with the uplink, all offices but those that are cut themselves."""
        _call("nft", "delete", "element", "inet", "jharnet", "cut",
              f"{{ {self._addresses(what, still_cut)} }}")  # fmt: skip

    def _addresses(self, what: str, without: tuple[str, ...] = ()) -> str:
        if what == "uplink":
            hosts = [f"{self._net}.200.1"]
            hosts += [f"{self._net}.{n}.1" for n, o in enumerate(OFFICES) if o not in without]
        else:
            hosts = [f"{self._net}.{OFFICES.index(what)}.1"]
        return ", ".join(hosts)

    def plan(self, office: str, seconds: float) -> None:
        """Announce work from now on, in the database as the hub does for the command."""
        store = Store(f"sqlite:///{self.directory}/monitor.db", SystemClock())
        now = datetime.now(UTC)
        store.event_log.add_window(Window(office, now, now + timedelta(seconds=seconds), "test"))
        store.close()


class Alerting:
    """Prometheus and Alertmanager with the shipped files."""

    def __init__(self, directory: Path, districts: list[District], receiver_url: str) -> None:
        self._directory = directory
        rules = directory / "rules"
        shutil.copytree(EXPORTERS / "prometheus" / "rules", rules)
        for file in rules.iterdir():
            file.write_text(shortened(file.read_text("utf-8")), "utf-8")
        (directory / "alertmanager.yml").write_text(yaml.safe_dump(_routes(receiver_url)), "utf-8")
        (directory / "prometheus.yml").write_text(yaml.safe_dump(_scrapes(districts)), "utf-8")
        self.alertmanager = Process([
            program("prometheus-alertmanager"), "--config.file=alertmanager.yml",
            "--web.listen-address=127.0.0.1:9093", "--cluster.listen-address=",
            "--storage.path=alertmanager", "--data.maintenance-interval=1s",
        ], directory / "alertmanager.log")  # fmt: skip
        self.prometheus = Process([
            program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:9090", f"--rules.alert.resend-delay={3 * MINUTE:g}s",
            f"--rules.alert.for-grace-period={MINUTE:g}s",
        ], directory / "prometheus.log")  # fmt: skip

    def change_a_text(self) -> None:
        """Change a summary and reload, as after an update of the rules."""
        file = self._directory / "rules" / "alerts-offices.yml"
        text = file.read_text("utf-8").replace("is unreachable", "is now unreachable")
        file.write_text(text, "utf-8")
        self.prometheus.reload()


def shortened(rules: str) -> str:
    """Rules whose minutes are `MINUTE` seconds."""

    def seconds(match: re.Match[str]) -> str:
        minutes = int(match[2]) * (60 if match[3] == "h" else 1)
        return f"{match[1]}{minutes * MINUTE:g}s"

    text = re.sub(r"(\[|for: )(\d+)(m|h)\b", seconds, rules)
    return text.replace(" < 600\n", f" < {10 * MINUTE:g}\n")


def _routes(receiver_url: str) -> dict[str, Any]:
    config = read_yaml(EXPORTERS / "alertmanager" / "alertmanager.yml")
    receivers = []
    for receiver in config["receivers"]:
        [settings] = receiver.get("email_configs") or receiver["webhook_configs"]
        hook = {"url": f"{receiver_url}/{receiver['name']}",
                "send_resolved": settings.get("send_resolved", True)}  # fmt: skip
        receivers.append({"name": receiver["name"], "webhook_configs": [hook]})
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "500ms", "group_interval": "1s"}
    kept = {key: config[key] for key in ("route", "inhibit_rules") if key in config}
    return {**kept, "receivers": receivers}


def _scrapes(districts: list[District]) -> dict[str, Any]:
    config: dict[str, Any] = read_yaml(EXPORTERS / "prometheus" / "prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    scrape = config["scrape_configs"][0]
    del scrape["tls_config"]
    scrape["scheme"] = "http"
    scrape["static_configs"] = [
        {"targets": [f"127.0.0.1:{one.port}"], "labels": {"district": one.id}} for one in districts
    ]
    return config
