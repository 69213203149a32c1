"""A speed test against an iperf3 server, by the program `iperf3` of this machine.

The rate is taken from the receiver's intervals, without the first ones, in which TCP starts. An
upload's receiver is the server; if that does not report its intervals, its mean over the whole test
is a lower bound.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.judge.line.throughput import MSS, MTU
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.internet.speedtest_client import SpeedtestFailed

PORT = 5201
INTERVAL_SECONDS, START_SHARE, T95 = 0.25, 0.3, 2.2
"""Length of iperf3's intervals, the share of them left out at the start, and Student's t."""
EXTRA_SECONDS = 15.0
LEAST_ERROR = 0.01
TRIES, PAUSE_SECONDS = 4, 0.5
"""A server takes one test at a time. It closes and opens its port again after each one, so that the
second direction may be refused although nobody else uses the server."""
BLOCK = "8K"
"""What it sends at once. Its usual 128 kB are half a second of 2 Mbit/s: so it keeps no pace."""
TO_IP = MTU / MSS


def address(server: str) -> tuple[str, int]:
    """Host and port of `iperf3://host:port` or `host:port`.

    >>> address("iperf3://speed.example.in"), address("10.0.0.1:5202")
    (('speed.example.in', 5201), ('10.0.0.1', 5202))
    """
    parts = urlsplit(server if "://" in server else f"iperf3://{server}")
    return parts.hostname or "", parts.port or PORT


def run(server: str, direction: Direction, rate: float, seconds: float) -> dict[str, Any]:
    """One direction, at most `rate` bit/s of IP for `seconds`; raises `SpeedtestFailed`.

    Returns the worker's result for a direction, with `min_rtt` in seconds and `sent` in bytes.
    """
    program = shutil.which("iperf3")
    if program is None:
        raise SpeedtestFailed(Cause.NOT_CONFIGURED, "iperf3 is not installed where the test runs")
    host, port = address(server)
    length = max(1, round(seconds))
    argv = [program, "-c", host, "-p", str(port), "-J", "-t", str(length)]
    argv += ["-i", str(INTERVAL_SECONDS), "-b", str(int(rate / TO_IP)), "--get-server-output"]
    argv += ["-l", BLOCK]
    argv += ["-R"] if direction is Direction.DOWN else []
    for attempt in range(1, TRIES + 1):
        report = _report(argv, length + EXTRA_SECONDS)
        error = str(report.get("error", ""))
        if not error:
            return {**found_in(report, direction), "pace": rate}
        if attempt == TRIES or not _was_turned_away(error, report):
            raise SpeedtestFailed(_cause(error), error[:200])
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def _report(argv: Sequence[str], seconds: float) -> Mapping[str, Any]:
    """Its report, which may be of an error; raises `SpeedtestFailed` if it gives none."""
    try:
        done = subprocess.run(  # noqa: S603 - the configured server
            argv, capture_output=True, text=True, timeout=seconds, check=False
        )
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise SpeedtestFailed(Cause.TIMEOUT, "iperf3 did not end") from None
    except ValueError:
        raise SpeedtestFailed(Cause.SERVER_ERROR, "iperf3 gave no report") from None
    if not isinstance(report, dict):
        raise SpeedtestFailed(Cause.SERVER_ERROR, "iperf3 gave no report")
    return report


def _was_turned_away(error: str, report: Mapping[str, Any]) -> bool:
    """Whether the server did not begin the test, as between two tests."""
    between = "busy" in error or "reset by peer" in error or "refused" in error
    return between and not report.get("intervals")


def _cause(error: str) -> Cause:
    if "busy" in error:
        return Cause.THROTTLED
    return Cause.OFFLINE if "connect" in error else Cause.SERVER_ERROR


def found_in(report: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    """The worker's result for a direction, from the report of iperf3."""
    end = report["end"]
    at_receiver = report if direction is Direction.DOWN else report.get("server_output_json") or {}
    rates = [float(each["sum"]["bits_per_second"]) for each in at_receiver.get("intervals", [])]
    goodput, error = _steady(rates)
    overall = float(end["sum_received"]["bits_per_second"])
    sender = (end.get("streams") or [{}])[0].get("sender", {})
    found: dict[str, Any] = {
        "rate": (goodput or overall) * TO_IP,
        "uncertainty": max(error, LEAST_ERROR) if goodput else None,
        "ended": "time",
        "payload": int(end["sum_received"]["bytes"]),
        "sent": int(end["sum_sent"]["bytes"] * TO_IP),
        "loss": _loss(end["sum_sent"]),
    }
    if direction is Direction.UP and sender.get("mean_rtt"):
        found |= {"loaded_rtt": sender["mean_rtt"] / 1e6, "min_rtt": sender["min_rtt"] / 1e6}
    return found


def _loss(sent: Mapping[str, Any]) -> float:
    """The share of the segments that the sender sent again; 0 where its system does not count."""
    again = max(0, int(sent.get("retransmits", 0)))
    return min(1.0, again * MSS / sent["bytes"]) if sent["bytes"] else 0.0


def _steady(rates: Sequence[float]) -> tuple[float, float]:
    """The mean rate after the start, and its error (95 %, a share); 0 for too few intervals."""
    steady = list(rates[max(1, round(START_SHARE * len(rates))) : -1])
    if len(steady) < 3 or fmean(steady) <= 0:
        return 0.0, 0.0
    return fmean(steady), T95 * stdev(steady) / sqrt(len(steady)) / fmean(steady)
