"""One run of a speed test against an Internet server, as a process of its own.

    python -m jharnet_monitor.probes.internet.worker < order.json > result.json

A process, because speedtest-cli blocks, starts threads that nothing can end, and would share the
interpreter with an agent that has packets to time. Order: `server` (address or null), `run` (a
word that names this run to a server of ours), `threads`, `rate` in bit/s and `bytes` at most by
direction, and `seconds` of either.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.judge.line.throughput import Estimate, estimate, is_stable
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth.counter_series import CounterSeries
from jharnet_monitor.probes.bandwidth.tcp_info import tcp_info
from jharnet_monitor.probes.internet.speedtest_client import (
    TIMEOUT_SECONDS,
    Client,
    ClientError,
    Pacer,
    SocketMeter,
    SpeedtestError,
    cause_of,
)

POLL_SECONDS = 0.004
LATE_SECONDS, LATE_SHARE = 0.05, 0.1
"""Waking up later than this is time in which the host did not keep up; with more of the test than
that share it was itself the bottleneck."""
SILENCE_SECONDS = 2.0
HANDSHAKES = 5
PROBE_SPACING_SECONDS = 0.15
MOST_THREADS = 8


def handshake(url: str) -> float | None:
    """Round-trip time in seconds as the kernel saw it while connecting; None if it could not."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        with socket.create_connection(address, TIMEOUT_SECONDS) as sock:
            info = tcp_info(sock)
    except OSError:
        return None
    return None if info is None else info.rtt


class Trips:
    """Round trips by small connections while the data runs, independent of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seconds: list[float] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PROBE_SPACING_SECONDS):
            trip = handshake(self._url)
            if trip is not None:
                self.seconds.append(trip)

    def stop(self) -> float | None:
        """End, and give the median: a request lost in a full queue comes a second late."""
        self._stop.set()
        self._thread.join(TIMEOUT_SECONDS)
        return statistics.median(self.seconds) if self.seconds else None


class Run:
    """One order: server, round trips, download, upload."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._meter = SocketMeter()
        self._stop = threading.Event()
        self._late = 0.0
        self._threads = max(1, min(MOST_THREADS, int(order["threads"])))
        self._pacer = Pacer(self._threads)
        self.result: dict[str, Any] = {"bytes_down": 0, "bytes_up": 0}

    def all(self) -> None:
        """Fill `result`; raises `ClientError`, or whatever speedtest-cli lets out."""
        server, run = self._order.get("server"), str(self._order.get("run", ""))
        client = Client(self._meter, self._stop, self._pacer, server, run)
        url = client.choose()
        self.result["server"] = url
        trips = [t for _ in range(HANDSHAKES) if (t := handshake(url)) is not None]
        if not trips:
            raise ClientError(Cause.OFFLINE, "the server does not take connections")
        self.result["idle_rtt"] = statistics.median(trips)
        for direction, work in (
            (Direction.DOWN, lambda: client.download(threads=self._threads)),
            (Direction.UP, lambda: client.upload(threads=self._threads, pre_allocate=False)),
        ):
            self.result[direction.transfer] = self._direction(direction, url, work)

    def _direction(self, direction: Direction, url: str, work: Callable[[], Any]) -> dict[str, Any]:
        name = direction.transfer
        self._meter.clear()
        self._stop.clear()
        self._pacer.restart(float(self._order["rate"][name]))
        worker = threading.Thread(target=work, daemon=True)
        series = CounterSeries()
        trips = Trips(url)
        worker.start()
        try:
            ended = self._watch(direction, series, worker)
        finally:
            self._stop.set()
        errors, payload = list(self._meter.errors), self._book(direction)
        self._meter.clear()
        worker.join(TIMEOUT_SECONDS)
        loaded = trips.stop()
        found = self._judged(direction, series, ended == "silence", errors)
        if direction is Direction.DOWN:  # what was under way when it was cut reached the line, too
            self.result["bytes_down"] += int(found.rate / 8 * (loaded or self.result["idle_rtt"]))
        return {
            "rate": found.rate,
            "uncertainty": found.uncertainty,
            "ended": ended,
            "loaded_rtt": loaded,
            "payload": payload,
            "late": round(self._late, 3),
        }

    def _judged(
        self, direction: Direction, series: CounterSeries, silent: bool, errors: list[BaseException]
    ) -> Estimate:
        """The rate of a direction; raises `ClientError` where there is none of the line."""
        name = direction.transfer
        page = next((e for e in errors if isinstance(e, ClientError)), None)
        if page is not None:
            raise page
        found = None if silent else estimate(series.samples())
        if found is None and errors:
            raise ClientError(cause_of(errors[0]), f"{name}: {errors[0]}"[:200])
        if self._late > LATE_SHARE:
            raise ClientError(
                Cause.HOST_OVERLOADED, f"this computer overslept {self._late:.0%} of the {name}"
            )
        if found is None:
            raise ClientError(Cause.INTERRUPTED, f"{name}: too little came through to measure")
        return found

    def _watch(self, direction: Direction, series: CounterSeries, worker: threading.Thread) -> str:
        """Poll until the rate has settled or a limit is reached; gives the reason."""
        begun = now = time.monotonic()
        most_bytes = int(self._order["bytes"][direction.transfer])
        most_seconds = float(self._order["seconds"])
        overslept = 0.0
        while True:
            time.sleep(POLL_SECONDS)
            before, now = now, time.monotonic()
            overslept += max(0.0, now - before - POLL_SECONDS - LATE_SECONDS)
            self._late = overslept / (now - begun)
            infos = self._meter.read()
            if direction is Direction.DOWN:
                changed = bool(infos) and series.add_received(now, infos, 0)
            else:
                changed = series.add_acknowledged(now, infos)
            last = series.points[-1].seconds if series.points else begun
            if changed and is_stable(series.samples()):
                return "stable"
            if now - begun >= most_seconds:
                return "time"
            if sum(i.ip_bytes_in + i.ip_bytes_out for i in infos) >= most_bytes:
                return "bytes"
            if now - last >= SILENCE_SECONDS or not worker.is_alive():
                return "silence" if now - last >= SILENCE_SECONDS else "worker"

    def _book(self, direction: Direction) -> int:
        """Add what this direction put on the line; gives the payload that got through."""
        infos = self._meter.read()
        self.result["bytes_down"] += sum(i.ip_bytes_in for i in infos)
        self.result["bytes_up"] += sum(i.ip_bytes_out for i in infos)
        return sum(
            i.bytes_received if direction is Direction.DOWN else i.bytes_acked for i in infos
        )


def main() -> None:
    """Read an order, run it, write the result, and leave nothing running."""
    run = Run(json.load(sys.stdin))
    try:
        run.all()
    except ClientError as error:
        run.result["error"] = {"cause": error.cause.value, "detail": str(error)[:200]}
    except (OSError, HTTPException, SpeedtestError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        run.result["error"] = {"cause": cause_of(error).value, "detail": detail}
    json.dump(run.result, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # speedtest-cli's threads may still be waiting for their servers


if __name__ == "__main__":
    main()
