"""Tests the state's store and rules on real servers: a node is killed, and a district is silent.

Three hubs run, each scraped by its own Prometheus, which writes to vmauth with the district's
password. vmagent sends every sample to two VictoriaMetrics nodes. vmalert evaluates the shipped
rules and notifies Alertmanager. The run kills one node and starts it again, and stops one
district's Prometheus. The state must be alerted to the district, queries must still be answered,
and afterwards the store must have every sample of the Prometheus servers. The killed node may lose
the samples of the last second in its memory, because the other node has them. Samples that a
district writes in another one's name must get its own label.

    python -m tests.faults.state [--quick] [--json FILE] [--seed N]

`--quick` shortens the times of rules and scrapes fivefold; without it they are as shipped.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.state.rules import NODES, WRITER, expected_rules, variable_of, vmauth_config
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.exporters_support import EXPORTERS, free_port, program
from tests.faults.alerts_stack import Inbox
from tests.faults.installation import Installation

SEEN_SECONDS = 300.0
START_SECONDS = 240.0
SAMPLE = 30
"""How much shorter the times of a sample are."""
DISTRICTS = ("bokaro", "chatra", "deoghar")
SILENT = "chatra"
METRIC = 'jharnet_build_info{job="jharnet-monitor"}'
LIAR = "deoghar"
"""Its Prometheus labels some of its samples as the silent district's."""


class Server:
    """A program that can be killed and started again."""

    def __init__(self, argv: Sequence[str], log: Path, ready: str, **environment: str) -> None:
        self._argv, self._log, self._ready = list(argv), log, ready
        self._environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it blocks only briefly
                self._argv, stdout=out, stderr=out, cwd=self._log.parent, env=self._environment
            )
        await until(lambda: answers(self._ready), START_SECONDS, f"{self._argv[0]}, {self._log}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and wait until the program ends."""
        if self.process is not None:
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
            self.process = None


async def until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait for a condition; returns the seconds that it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def ask(url: str, user: str | None = None, data: bytes | None = None, **query: str) -> bytes:
    """A server's answer; every user has the password `secret`."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    request = urllib.request.Request(url, data)  # noqa: S310 - loopback
    if user is not None:
        login = base64.b64encode(f"{user}:secret".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        body: bytes = answer.read()
        return body


def answers(url: str) -> bool:
    """Whether the server answers successfully."""
    with contextlib.suppress(OSError, urllib.error.URLError):
        ask(url)
        return True
    return False


def samples(node: str) -> dict[str, list[int]]:
    """By district: the times of the metric's samples in a node, in milliseconds."""
    found: dict[str, list[int]] = {}
    for one in exported(node, METRIC):
        found.setdefault(one["metric"]["district"], []).extend(one["timestamps"])
    return {district: sorted(moments) for district, moments in found.items()}


def exported(node: str, selector: str) -> list[dict[str, Any]]:
    """Series of a node with all their samples, including those of the last ten seconds."""
    ask(f"{node}/internal/force_flush")
    match = urllib.parse.urlencode({"match[]": selector})
    return [json.loads(line) for line in ask(f"{node}/api/v1/export?{match}").splitlines()]


@dataclass
class District:
    """A hub, its Prometheus, and the times of the samples that it scraped."""

    name: str
    hub: Installation | None
    prometheus: Server
    port: int
    scraped: list[int] = field(default_factory=list)

    def note_scraped(self) -> None:
        """Read the samples of its Prometheus, which the store must receive."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query"
        answer = json.loads(ask(url, query=f"{METRIC}[1h]"))
        self.scraped = sorted(
            round(float(at) * 1000) for one in answer["data"]["result"] for at, _ in one["values"]
        )


class Stack:
    """All servers, on free ports of the loopback address."""

    def __init__(
        self, directory: Path, shorter: int, hubs: Mapping[str, int] | None = None
    ) -> None:
        """`hubs` are the ports of running hubs, by district; without it, three are started."""
        self.directory, self.shorter = directory, shorter
        self.retry_seconds = 5 if shorter < SAMPLE else 1
        self.names = DISTRICTS if hubs is None else tuple(hubs)
        self._hubs = hubs
        self.inbox = Inbox()
        self.ports = {name: free_port() for name in ("a", "b", "agent", "auth", "alert", "manager")}
        self.urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.servers: dict[str, Server] = {}
        self.districts: dict[str, District] = {}

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Write all files; afterwards end all programs."""
        with self.inbox.receiving() as address:
            state = self._state()
            self._write_rules(state)
            self._write("vmauth.yml", self._local(vmauth_config(state)))
            self._write("alertmanager.yml", _routes(address, self.shorter))
            self._declare()
            for name in self.names:
                self._declare_district(name)
            try:
                yield
            finally:
                for one in self.districts.values():
                    one.prometheus.end(signal.SIGKILL)
                    if one.hub is not None and one.hub.process is not None:
                        one.hub.kill()
                for server in self.servers.values():
                    server.end(signal.SIGKILL)

    def _state(self) -> StateFile:
        data = yaml.safe_load((EXPORTERS / "state/state.yaml").read_text("utf-8"))
        data["districts"] = [d for d in data["districts"] if d["id"] in self.names]
        return load_yaml_model(
            self._write("state.yaml", yaml.safe_dump(data, allow_unicode=True)), StateFile
        )

    def _write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        return file

    def _local(self, text: str) -> str:
        for node, name in zip(NODES, ("a", "b"), strict=True):
            text = text.replace(node, self.urls[name])
        return text.replace(WRITER, self.urls["agent"])

    def _write_rules(self, state: StateFile) -> None:
        shipped = (EXPORTERS / "state/rules/state.yml").read_text("utf-8")
        self._write("rules/state.yml", shortened(shipped, self.shorter))
        self._write("rules/districts.yml", shortened(expected_rules(state), self.shorter))

    def _declare(self) -> None:
        for name in ("a", "b"):
            self._add(name, [
                program("victoria-metrics"), f"-storageDataPath={self.directory / name}",
                f"-httpListenAddr=127.0.0.1:{self.ports[name]}", "-retentionPeriod=5y",
                "-dedup.minScrapeInterval=1ms", "-inmemoryDataFlushInterval=1s",
                *(["-search.latencyOffset=1s"] if self.shorter > 1 else []),
            ])  # fmt: skip
        self._add("agent", [
            program("vmagent"), f"-httpListenAddr=127.0.0.1:{self.ports['agent']}",
            f"-remoteWrite.tmpDataPath={self.directory / 'queue'}",
            f"-remoteWrite.retryMaxTime={self.retry_seconds}s",
            *(f"-remoteWrite.url={self.urls[name]}/api/v1/write" for name in ("a", "b")),
        ])  # fmt: skip
        users = {variable_of(name): "secret" for name in (*self.names, "grafana", "vmalert")}
        self._add("auth", [
            program("vmauth"), f"-httpListenAddr=127.0.0.1:{self.ports['auth']}",
            f"-auth.config={self.directory / 'vmauth.yml'}",
        ], **users)  # fmt: skip
        self._add("manager", [
            program("prometheus-alertmanager"), "--cluster.listen-address=",
            f"--config.file={self.directory / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.ports['manager']}",
        ], ready="/-/ready")  # fmt: skip
        login = [
            f"-{kind}.{key}" for kind in ("datasource", "remoteRead")
            for key in (f"url={self.urls['auth']}", "basicAuth.username=vmalert",
                        "basicAuth.password=secret")
        ]  # fmt: skip
        self._add("alert", [
            program("vmalert"), f"-httpListenAddr=127.0.0.1:{self.ports['alert']}", *login,
            f"-rule={self.directory / 'rules/*.yml'}", f"-notifier.url={self.urls['manager']}",
            f"-remoteWrite.url={self.urls['agent']}",
            *(["-evaluationInterval=2s", "-rule.evalDelay=2s"] if self.shorter > 1 else
              ["-evaluationInterval=15s"]),
        ])  # fmt: skip

    def _add(
        self, name: str, argv: list[str], *, ready: str = "/health", **environment: str
    ) -> None:
        log = self.directory / f"{name}.log"
        self.servers[name] = Server(argv, log, self.urls[name] + ready, **environment)

    def _declare_district(self, name: str) -> None:
        hub = None
        if self._hubs is None:
            hub = Installation(self.directory / f"hub-{name}", "sqlite:///monitor.db", 2)
        port, interval = free_port(), f"{15_000 // self.shorter}ms"
        served = hub.port if hub is not None else (self._hubs or {})[name]
        targets = [f"127.0.0.1:{served}"]
        jobs = [("jharnet-monitor", name), *([("liar", SILENT)] if name == LIAR else [])]
        config = {
            "global": {"scrape_interval": interval},
            "scrape_configs": [
                {"job_name": job,
                 "static_configs": [{"targets": targets, "labels": {"district": district}}]}
                for job, district in jobs
            ],
            "remote_write": [{
                "url": f"{self.urls['auth']}/api/v1/write",
                "basic_auth": {"username": name, "password": "secret"},
                "write_relabel_configs": [{
                    "source_labels": ["__name__", "district"],
                    "regex": "(jharnet[_:].*|ALERTS|ALERTS_FOR_STATE|up);.+", "action": "keep"}],
                # how long a sample may wait for others; 5 s is the default
                "queue_config": {"batch_send_deadline": f"{5000 // self.shorter}ms"},
            }],
        }  # fmt: skip
        file = self._write(f"prometheus-{name}/prometheus.yml", yaml.safe_dump(config))
        argv = [
            program("prometheus"), f"--config.file={file}",
            f"--storage.tsdb.path={file.parent / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        ready = f"http://127.0.0.1:{port}/-/ready"
        server = Server(argv, self.directory / f"prometheus-{name}.log", ready)
        self.districts[name] = District(name, hub, server, port)

    async def start(self) -> None:
        """Start the store, then the hubs, then the Prometheus servers."""
        await asyncio.gather(*(self.servers[name].start() for name in ("a", "b", "agent", "auth")))
        hubs = [one.hub for one in self.districts.values() if one.hub is not None]
        for hub in hubs:
            hub.start()
        for hub in hubs:
            await hub.until_ready()
        await asyncio.gather(*(one.prometheus.start() for one in self.districts.values()))
        await until(lambda: all(samples(self.urls["a"]).get(d) for d in self.names),
                    START_SECONDS, "the first samples")  # fmt: skip

    def notified(self, alert: str, district: str, status: str) -> bool:
        """Whether Alertmanager sent this notification."""
        return any(
            (name, where, what) == (alert, district, status)
            for message in self.inbox.messages
            for name, where, _, _, what in message.alerts
        )

    def read_through_vmauth(self, user: str = "grafana") -> set[str]:
        """The districts that a user can read."""
        url = f"{self.urls['auth']}/api/v1/query"
        answer = json.loads(ask(url, user, query=f"count by (district) ({METRIC})"))
        return {one["metric"]["district"] for one in answer["data"]["result"]}


def shortened(rules: str, shorter: int) -> str:
    """The rules with every duration divided."""

    def divided(match: re.Match[str]) -> str:
        seconds = int(match[1]) * {"s": 1, "m": 60}[match[2]]
        return f"{max(2, seconds // shorter)}s"

    if shorter == 1:
        return rules
    return re.sub(r"(?<=[\[ ])(\d+)([sm])(?=\]|\n)", divided, rules)


def _routes(address: str, shorter: int) -> str:
    shipped = yaml.safe_load((EXPORTERS / "state/alertmanager.yml").read_text("utf-8"))
    for receiver in shipped["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook.pop("url_file")
            hook["url"] = f"{address}/{receiver['name']}"
    if shorter > 1:
        shipped["route"] |= {"group_wait": "1s", "group_interval": "2s"}
    return yaml.safe_dump(shipped)


async def run(directory: Path, shorter: int) -> list[Row]:
    """The whole run."""
    stack = Stack(directory, shorter)
    with stack.prepared():
        await stack.start()
        await stack.servers["manager"].start()
        await stack.servers["alert"].start()
        began = time.monotonic()
        await asyncio.sleep(60 / shorter)
        early = stack.notified("DistrictSilent", SILENT, "firing")
        read = await node_killed(stack, 90 / shorter)
        silenced = stack.districts[SILENT].prometheus
        silenced.send(signal.SIGSTOP)
        silent = await until(lambda: stack.notified("DistrictSilent", SILENT, "firing"),
                             SEEN_SECONDS, "the silent district")  # fmt: skip
        await stack.servers["a"].start()
        silenced.send(signal.SIGCONT)
        back = await until(lambda: stack.notified("DistrictSilent", SILENT, "resolved"),
                           SEEN_SECONDS, "the district's return")  # fmt: skip
        return [
            note("observed", time.monotonic() - began, "s"),
            at_most("false alarms before", float(early), 0, ""),
            *read,
            at_most("silent district told after", silent, SEEN_SECONDS, "s"),
            at_most("its return told after", back, SEEN_SECONDS, "s"),
            *_others_blamed(stack),
            *await _compared(stack),
            *await _separated(stack),
        ]


async def sample(directory: Path, hubs: Mapping[str, int]) -> list[Row]:
    """A short run of the store alone: a node is killed and restarted; nothing may be lost."""
    stack = Stack(directory, SAMPLE, hubs)
    with stack.prepared():
        await stack.start()
        read = await node_killed(stack, 1.0)
        await stack.servers["a"].start()
        return [*read, *await _compared(stack), *await _separated(stack)]


async def node_killed(stack: Stack, seconds: float) -> list[Row]:
    """Kill a node, wait, and check that the other one answers queries."""
    stack.servers["a"].end(signal.SIGKILL)
    await asyncio.sleep(seconds)
    with contextlib.suppress(TimeoutError):
        await until(lambda: stack.read_through_vmauth() == set(stack.names), 60, "all districts")
    missing = set(stack.names) - stack.read_through_vmauth()
    return [at_most("districts not read while a node is dead", len(missing), 0, "")]


def _others_blamed(stack: Stack) -> list[Row]:
    others = [d for d in stack.names if d != SILENT]
    notified = sum(stack.notified("DistrictSilent", other, "firing") for other in others)
    return [at_most("other districts called silent", notified, 0, "")]


async def _compared(stack: Stack) -> list[Row]:
    """Check that every sample of every Prometheus is in the nodes, once."""
    for one in stack.districts.values():
        before = set(one.scraped)
        await asyncio.to_thread(one.note_scraped)
        one.scraped = sorted(before | set(one.scraped))

    def missing(name: str) -> int:
        stored = samples(stack.urls[name])
        return sum(len(set(one.scraped) - set(stored.get(one.name, ())))
                   for one in stack.districts.values())  # fmt: skip

    with contextlib.suppress(TimeoutError):
        await until(lambda: missing("b") == 0, 60, "every sample in the other node")
    with contextlib.suppress(TimeoutError):
        # after the last attempt to send, a node shows within a second what it received
        await until(lambda: missing("a") == 0, 2 * stack.retry_seconds + 1,
                    "every sample in the node that was killed")  # fmt: skip
    twice = sum(
        len(moments) - len(set(moments))
        for name in ("a", "b")
        for moments in samples(stack.urls[name]).values()
    )
    return [
        note("samples scraped", sum(len(one.scraped) for one in stack.districts.values()), ""),
        at_most("lost", missing("b"), 0, "samples"),
        note("of its last second in memory, lost in the killed node", missing("a"), "samples"),
        at_most("there twice", twice, 0, "samples"),
    ]


async def _separated(stack: Stack) -> list[Row]:
    """Check that a district can read only its own figures and write only under its own label."""
    with contextlib.suppress(TimeoutError):  # a restarted node may not have caught up yet
        await until(lambda: stack.read_through_vmauth(LIAR), 60, "its own figures")
    own = stack.read_through_vmauth(LIAR)
    lies = exported(stack.urls["b"], 'jharnet_build_info{job="liar"}')
    read = 0
    with contextlib.suppress(urllib.error.HTTPError):
        ask(f"{stack.urls['auth']}/api/v1/query", None, query="up")
        read = 1
    return [
        at_most("read without a password", read, 0, ""),
        within("a district reads its own figures only", float(own == {LIAR}), 1, 1, ""),
        within("its own label on whatever it writes",
               float({one["metric"]["district"] for one in lies} == {LIAR}), 1, 1, ""),
    ]  # fmt: skip


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="jhn-state-") as directory:
        rows: list[Any] = asyncio.run(run(Path(directory), 5 if options.quick else 1))
    return finish("A node of the state's store killed, a district silent", rows, options)


if __name__ == "__main__":
    sys.exit(main())
