"""One run of a speed test against an Internet server, in a process of its own.

    python -m jharnet_monitor.probes.internet.worker < request.json > result.json

speedtest-cli blocks, starts threads that cannot be stopped, and would share the interpreter with an
agent that has packets to time; so it runs in a separate process. The request has `method` (`ookla`,
`http`, `librespeed` or `iperf3`), `server` (address or null), `run` (an identifier of this run for
one of our servers), `threads`, the limits `rate` in bit/s and `bytes` by direction, and `seconds`
for each direction.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from math import isfinite
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from jharnet_monitor.judge.line.throughput import (
    Estimate,
    stalled_share,
    window_seconds,
)
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth.poll_lateness import PollLateness
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo, tcp_info
from jharnet_monitor.probes.internet import iperf3
from jharnet_monitor.probes.internet.http_clients import HttpFileClient, LibreSpeedClient
from jharnet_monitor.probes.internet.speedtest_client import (
    TIMEOUT_SECONDS,
    Pacer,
    SocketCounters,
    SpeedtestClient,
    SpeedtestError,
    SpeedtestFailed,
    cause_of,
)
from jharnet_monitor.probes.internet.transfer_series import TransferSeries

POLL_SECONDS = 0.004
MAX_LATE_SHARE = 0.1
"""If this computer did not keep up for more than this share of a direction, it may have limited the
rate."""
SILENCE_SECONDS = 2.0
HANDSHAKES = 5
HANDSHAKE_SPACING_SECONDS = 0.15
MAX_THREADS = 8
SPARE = 1.25
"""Connections do not share the bytes of a direction evenly."""


def handshake_rtt(url: str) -> float | None:
    """RTT in seconds of a TCP handshake, from the kernel; None if there was no connection."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        with socket.create_connection(address, TIMEOUT_SECONDS) as sock:
            info = tcp_info(sock)
    except OSError:
        return None
    return None if info is None else info.rtt


class HandshakeThread:
    """Measures the RTT by TCP handshakes in a thread, while a transfer runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._rtts: list[float] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(HANDSHAKE_SPACING_SECONDS):
            rtt = handshake_rtt(self._url)
            if rtt is not None:
                self._rtts.append(rtt)

    def stop(self) -> float | None:
        """Stop; returns the median in seconds, as a SYN lost in a full queue adds a second."""
        self._stop.set()
        self._thread.join(TIMEOUT_SECONDS)
        return statistics.median(self._rtts) if self._rtts else None


class InternetTest:
    """One run: server selection, idle RTT, download and upload. Fills `result`."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._counters = SocketCounters()
        self._stop = threading.Event()
        self._late = self._seconds = 0.0
        self._threads = max(1, min(MAX_THREADS, int(request["threads"])))
        self._pacer = Pacer(self._threads)
        self.result: dict[str, Any] = {"bytes_down": 0, "bytes_up": 0}

    def run(self) -> None:
        """Run the test; raises `SpeedtestFailed`, or an error of speedtest-cli."""
        if self._request.get("method") == "iperf3":
            self._run_iperf3(str(self._request["server"]))
            return
        client = self._client()
        url = client.choose_server()
        self.result["server"] = url
        rtts = [rtt for _ in range(HANDSHAKES) if (rtt := handshake_rtt(url)) is not None]
        if not rtts:
            raise SpeedtestFailed(Cause.OFFLINE, "the server accepts no connections")
        self.result["idle_rtt"] = statistics.median(rtts)
        for direction, transfer in (
            (Direction.DOWN, lambda: client.download(threads=self._threads)),
            (Direction.UP, lambda: client.upload(threads=self._threads, pre_allocate=False)),
        ):
            if direction is Direction.UP and not getattr(client, "uploads", True):
                continue
            self.result[direction.transfer] = self.measure(direction, url, transfer)

    def _client(self) -> Any:
        """The client for the kind of server."""
        server = self._request.get("server")
        shared = (self._counters, self._stop, self._pacer)
        match self._request.get("method"):
            case "http":
                return HttpFileClient(*shared, str(server))
            case "librespeed":
                return LibreSpeedClient(*shared, str(server))
        upload_bytes = SPARE * float(self._request["bytes"]["upload"]) / self._threads
        return SpeedtestClient(*shared, server, str(self._request.get("run", "")), upload_bytes)

    def _run_iperf3(self, server: str) -> None:
        """Measure both directions with the program iperf3, which has its own counters."""
        self.result["server"] = server
        for direction in Direction:
            name = direction.transfer
            rate = float(self._request["rate"][name])
            seconds = min(self._request["seconds"], self._request["bytes"][name] * 8 / rate)
            found = iperf3.run(server, direction, rate, seconds)
            key = "bytes_down" if direction is Direction.DOWN else "bytes_up"
            self.result[key] += found["sent"]
            self.result["idle_rtt"] = found.pop("min_rtt", None)
            self.result[name] = found

    def measure(
        self, direction: Direction, url: str, transfer: Callable[[], Any]
    ) -> dict[str, Any]:
        """The result of one direction; `transfer` moves the data and runs in a thread."""
        name = direction.transfer
        self._counters.reset()
        self._stop.clear()
        self._pacer.start(float(self._request["rate"][name]))
        thread = threading.Thread(target=transfer, daemon=True)
        series = TransferSeries(direction, self._threads, window_seconds(self.result["idle_rtt"]))
        handshakes = HandshakeThread(url)
        thread.start()
        try:
            ended = self._poll(direction, series, thread)
        finally:
            self._stop.set()
        errors, infos = list(self._counters.errors), self._counters.read()
        payload = self._count_bytes(direction, infos)
        self._counters.reset()
        thread.join(TIMEOUT_SECONDS)
        loaded_rtt = handshakes.stop()
        found = self._estimate(direction, series, ended == "silence", errors)
        late = (self._late,) if self._late else ()
        idle = series.idle if self._threads > 1 else 0.0
        uncertainty = found.uncertainty + stalled_share(late, self._seconds) + idle
        if direction is Direction.DOWN:  # data in flight at the reset also used the line
            rtt = loaded_rtt or self.result["idle_rtt"]
            self.result["bytes_down"] += int(found.rate / 8 * rtt)
        return {
            "rate": found.rate,
            "pace": float(self._request["rate"][name]),
            "uncertainty": uncertainty if isfinite(uncertainty) else None,
            "stable": found.stable,
            "loss": _loss(direction, infos),
            "window": _window_share(direction, infos),
            "ended": ended,
            "loaded_rtt": loaded_rtt,
            "payload": payload,
            "late": round(self._late, 3),
        }

    def _estimate(
        self,
        direction: Direction,
        series: TransferSeries,
        silent: bool,
        errors: list[BaseException],
    ) -> Estimate:
        """The rate of a direction; raises `SpeedtestFailed` if there is none.

        Answers that refuse the data are short, and so are some others; they have no rate.
        """
        name = direction.transfer
        failed = next((e for e in errors if isinstance(e, SpeedtestFailed)), None)
        if failed is not None:
            raise failed
        found = None if silent else series.estimate()
        refused = next((e for e in errors if isinstance(e, HTTPError)), None)
        if refused and not (found and found.stable):
            found = None
        if found is None and errors:
            error = refused or errors[0]
            raise SpeedtestFailed(cause_of(error), f"{name}: {error}"[:200])
        if self._late > MAX_LATE_SHARE:
            raise SpeedtestFailed(
                Cause.HOST_OVERLOADED,
                f"this computer did not keep up for {self._late:.0%} of the {name}",
            )
        if found is None and series.renewed:
            raise SpeedtestFailed(
                Cause.SERVER_ERROR,
                f"{name}: the server's answers are too short to measure a rate; "
                "use a larger file, or another server",
            )
        if found is None:
            raise SpeedtestFailed(Cause.INTERRUPTED, f"{name}: too little data to measure a rate")
        return found

    def _poll(self, direction: Direction, series: TransferSeries, thread: threading.Thread) -> str:
        """Read the counters until the rate is stable or a limit is reached; returns the reason."""
        started = time.monotonic()
        max_bytes = int(self._request["bytes"][direction.transfer])
        max_seconds = float(self._request["seconds"])
        lateness = PollLateness(started, POLL_SECONDS)
        while True:
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            lateness.add(now)
            self._seconds, self._late = now - started, lateness.late
            infos = self._counters.read()
            if series.add(now, infos):
                return "stable"
            if now - started >= max_seconds:
                return "time"
            if sum(i.ip_bytes_in + i.ip_bytes_out for i in infos) >= max_bytes:
                return "bytes"
            if now - (series.changed or started) >= SILENCE_SECONDS:
                return "silence"
            if not thread.is_alive():
                return "worker"

    def _count_bytes(self, direction: Direction, infos: Sequence[TcpInfo]) -> int:
        """Add the IP bytes of this direction's sockets to the result; returns their payload."""
        self.result["bytes_down"] += sum(i.ip_bytes_in for i in infos)
        self.result["bytes_up"] += sum(i.ip_bytes_out for i in infos)
        return sum(
            i.bytes_received if direction is Direction.DOWN else i.bytes_acked for i in infos
        )


def _loss(direction: Direction, infos: Sequence[TcpInfo]) -> float:
    """The share that was sent again. Of what arrived, the share behind a gap, as an upper bound."""
    if direction is Direction.DOWN:
        lost, sent = sum(i.out_of_order for i in infos), sum(i.data_segments_in for i in infos)
    else:
        lost, sent = sum(i.bytes_retransmitted for i in infos), sum(i.bytes_sent for i in infos)
    return min(1.0, lost / sent) if sent else 0.0


def _window_share(direction: Direction, infos: Sequence[TcpInfo]) -> float:
    """The share of an upload's time in which the server's window limited it; 0 for a download."""
    if direction is Direction.DOWN:
        return 0.0
    busy = sum(info.busy for info in infos)
    return min(1.0, sum(info.rwnd_limited for info in infos) / busy) if busy else 0.0


def main() -> None:
    """Read a request, run it, write the result and exit with all threads."""
    test = InternetTest(json.load(sys.stdin))
    try:
        test.run()
    except SpeedtestFailed as error:
        test.result["error"] = {"cause": error.cause.value, "detail": str(error)[:200]}
    except (OSError, HTTPException, SpeedtestError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        test.result["error"] = {"cause": cause_of(error).value, "detail": detail}
    json.dump(test.result, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # speedtest-cli's threads may still be waiting for their servers


if __name__ == "__main__":
    main()
