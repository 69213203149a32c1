"""Divides the time of a visit into phases, by aiohttp's trace and by the TLS handshake itself."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from aiohttp import TraceConfig


class Phase(StrEnum):
    """A part of a visit; over redirects, the sum of what each page took."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    FIRST_BYTE = "first_byte"
    """From the connection to the arrival of the response headers."""
    TRANSFER = "transfer"


class Stopwatch:
    """Seconds by phase. One phase begins where another ends, so that they add up to the whole."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = self._began = now()
        self.total = 0.0
        """From `start` to the last `stop`."""
        self.phase: Phase | None = None
        """The current phase."""
        self.seconds: dict[Phase, float] = {}
        self.certificate_expires: float | None = None
        """When the certificate of the last server expires, in seconds since 1970."""

    def enter(self, phase: Phase | None) -> None:
        """End the current phase and begin another, or none."""
        moment = self._now()
        if self.phase is not None:
            spent = self.seconds.get(self.phase, 0.0)
            self.seconds[self.phase] = spent + moment - self._since
        self.phase, self._since = phase, moment

    def start(self) -> None:
        """The visit begins."""
        self.enter(Phase.CONNECT)
        self._began = self._since

    def stop(self) -> None:
        """End the current phase, because the page was read or the visit broke off."""
        self.enter(None)
        self.total = self._since - self._began

    def trace(self) -> TraceConfig:
        """The trace configuration with which an aiohttp session reports the start of each phase."""

        def begins(phase: Phase) -> Any:
            async def enter(*_: object) -> None:
                self.enter(phase)

            return enter

        trace = TraceConfig()
        for signals, phase in (
            ((trace.on_dns_resolvehost_start,), Phase.DNS),
            (
                (
                    trace.on_request_start,
                    trace.on_connection_create_start,
                    trace.on_dns_resolvehost_end,
                ),
                Phase.CONNECT,
            ),
            ((trace.on_connection_create_end, trace.on_connection_reuseconn), Phase.FIRST_BYTE),
            ((trace.on_request_end,), Phase.TRANSFER),
        ):
            for signal in signals:
                signal.append(begins(phase))
        return trace

    def watch(self, context: ssl.SSLContext) -> None:
        """Make the handshakes of this context report their start and end, which aiohttp does not:
        it treats connecting and handshake as one."""
        stopwatch = self

        class TimedHandshake(ssl.SSLObject):
            def do_handshake(self) -> None:
                if stopwatch.phase is not Phase.TLS:
                    stopwatch.enter(Phase.TLS)
                super().do_handshake()  # raises until the other side has finished
                stopwatch.enter(Phase.FIRST_BYTE)
                until = (self.getpeercert() or {}).get("notAfter")
                if isinstance(until, str):
                    stopwatch.certificate_expires = float(ssl.cert_time_to_seconds(until))

        context.sslobject_class = TimedHandshake
