"""An idle agent: its memory, its start, and its share of a core, beside a hub on loopback.

    python -m tests.bench.agent [--quick] [--json FILE]

The agent is the command as the service starts it, with a file and TLS. Its memory is the resident
set of its process, shared libraries included, once it has been connected for the given time.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import yaml

from jharnet_monitor.demo.places import LoopbackPlace, district_data
from jharnet_monitor.demo.programs import Programs
from jharnet_monitor.demo.setup import PORT, Installation, install
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.wire.client import HubClient
from tests.bench.marks import Row, arguments, at_most, finish, note

IDLE_SECONDS, QUICK_SECONDS = 300.0, 45.0
START_SECONDS = 120.0
"""Patience for the start of the hub, and then of the agent."""
CONNECTED = "connected to the hub"
PREPARED_SECONDS = 15.0
"""After its start an agent makes missing clips in a child process; that is not idle yet."""


def _file(here: Installation, place: LoopbackPlace, office: str) -> Path:
    """The agent's file, as enrolment writes it."""
    keys = {
        "hub": f"wss://{place.hub_address}:{PORT}/agent", "office": office,
        "token_file": str(here.token(office)), "ca": str(here.ca),
        "spool": str(here.spool(office)),
    }  # fmt: skip
    file = here.directory / "agent.yaml"
    file.write_text(yaml.safe_dump(keys), "utf-8")
    return file


def _wait_for(log: Path, text: str) -> float:
    """Seconds until the log holds the text; raises `SystemExit` if it takes too long."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if log.exists() and text in log.read_text("utf-8"):
            return time.monotonic() - began
        time.sleep(0.01)
    raise SystemExit(f"{log} has no line `{text}`")


def _wait_for_hub(place: LoopbackPlace, here: Installation) -> None:
    """Wait until it answers; raises `SystemExit` if it takes too long."""
    base, token = f"https://{place.hub_address}:{PORT}", here.api_token.read_text().strip()
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        with contextlib.suppress(TemporaryError):
            HubClient(base, token, here.directory / "tls/hub.pem").get("/api/v1/offices")
            return
        time.sleep(0.3)
    raise SystemExit(f"the hub does not answer; see {here.log('hub')}")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(directory: Path, seconds: float) -> list[Row]:
    """Start a hub and one agent, and look at the agent."""
    data = district_data()
    office = str(data["offices"][0]["id"])
    place, here = LoopbackPlace(data), Installation(directory / "hub", directory / "reports")
    here.directory.mkdir()
    here.reports.mkdir()
    install(place, data, here, datetime.now(UTC))
    programs = Programs(place, here)
    try:
        programs.start_hub()
        _wait_for_hub(place, here)
        programs._start(office, office, ["agent", "--config", str(_file(here, place, office))])
        started = _wait_for(here.log(office), CONNECTED)
        agent = psutil.Process(programs._running[office].pid)
        start_cpu = _cpu(agent)
        time.sleep(PREPARED_SECONDS)
        before = _cpu(agent)
        time.sleep(seconds)
        share = (_cpu(agent) - before) / seconds
        memory = agent.memory_info().rss
    finally:
        programs.stop()
        place.close()
    return [
        at_most("idle agent: resident memory", memory / 2**20, 55, "MiB"),
        at_most("idle agent: share of a core", 100 * share, 1, "%"),
        at_most("from its start to its session", started, 1, "s"),
        note("CPU time of its start", start_cpu, "s"),
    ]


def main() -> int:
    """Print the table; exit code 0 if every mark is met."""
    options = arguments(__doc__)
    directory = Path(tempfile.mkdtemp(prefix="jharnet-agent-"))
    rows = measure(directory, QUICK_SECONDS if options.quick else IDLE_SECONDS)
    shutil.rmtree(directory)
    return finish("An idle agent", rows, options)


if __name__ == "__main__":
    sys.exit(main())
