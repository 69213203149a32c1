"""Shared by the tests of the exporters: the shipped files, and real servers on free ports."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.registry import ERRORS_FAMILY
from jharnet_monitor.probes.families import Family, OfficeFamily
from jharnet_monitor.web import make_app
from tests.conftest import find_program
from tests.made_up import full
from tests.made_up_hub import MadeUpHub

EXPORTERS = Path(__file__).parents[1] / "exporters"
RULES = EXPORTERS / "prometheus" / "rules"


def program(name: str) -> str:
    """Where a program is; the `server` marker has made sure that it is there."""
    found = find_program(name)
    assert found, name
    return found


def run(*argv: str | Path, cwd: Path | None = None, input_: str | None = None) -> str:
    """Run a program to its end; gives its output; fails with the output when it fails."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, input=input_, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read_yaml(path: Path) -> Any:
    """A YAML file of one document."""
    return yaml.safe_load(path.read_text("utf-8"))


def alert_rules() -> list[dict[str, Any]]:
    """Every alert rule that is shipped."""
    return [
        rule
        for file in sorted(RULES.glob("*.yml"))
        for group in read_yaml(file)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def metric_names() -> set[str]:
    """Every metric that the hub can export, as Prometheus stores it."""
    families: list[Family | OfficeFamily] = [*DISTRICT_FAMILIES, *OFFICE_FAMILIES, ERRORS_FAMILY]
    names = {family.full_name for family in families}
    for family in families:
        if family.kind == "histogram":
            names |= {family.full_name + suffix for suffix in ("_bucket", "_sum", "_count")}
    return names


def free_port() -> int:
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_json(url: str, **query: str) -> Any:
    """The answer of a server."""
    if query:
        url += "?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        return json.load(answer)


@contextlib.contextmanager
def server(argv: Sequence[str | Path], ready: str, log: Path) -> Iterator[None]:
    """Run a server until the end of the block; it is ready once `ready` answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in argv], stdout=out, stderr=subprocess.STDOUT, cwd=log.parent
        )
    try:
        _wait(process, ready, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - loopback
            return
        assert process.poll() is None, log.read_text("utf-8", "replace")
        assert time.monotonic() < deadline, f"{url} is not ready"
        time.sleep(0.1)


@contextlib.contextmanager
def prometheus(config: Path, directory: Path, port: int | None = None) -> Iterator[str]:
    """Prometheus with a configuration; gives its address."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [
        program("prometheus"), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={directory / 'prometheus'}", "--rules.alert.resend-delay=5s",
        "--enable-feature=extra-scrape-metrics",  # the size of a scrape
    ]  # fmt: skip
    with server(argv, f"{url}/-/ready", directory / "prometheus.log"):
        yield url


@contextlib.contextmanager
def alertmanager(config: Path, directory: Path) -> Iterator[str]:
    """Alertmanager with a configuration, and no cluster; gives its address."""
    url = f"http://127.0.0.1:{free_port()}"
    argv = [
        program("prometheus-alertmanager"), f"--config.file={config}", "--cluster.listen-address=",
        f"--web.listen-address={url.removeprefix('http://')}",
        f"--storage.path={directory / 'alertmanager'}",
    ]  # fmt: skip
    with server(argv, f"{url}/-/ready", directory / "alertmanager.log"):
        yield url


@contextlib.asynccontextmanager
async def made_up_hub(directory: Path, offices: int) -> AsyncIterator[int]:
    """The hub's real pages over a made-up live state; gives the port."""
    hub = MadeUpHub(full(offices), directory)
    runner = web.AppRunner(make_app(hub))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
        hub.store.close()
