"""Counts the outcomes of a series of echo requests and makes a reading of them."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from jharnet_monitor.judge.latency import summarise
from jharnet_monitor.model import ROUND_TRIP_UNIT, Cause
from jharnet_monitor.probes.base import Failed, NoData, Reading
from jharnet_monitor.probes.latency.pinger import Echo, UnexpectedReply

_MIN_SENT = 0.5
"""If no more than this share of the requests was sent, the series does not represent its time."""


class EchoTally:
    """The requests of one series. `rtts` are in seconds, in the order in which replies arrived.

    A request that the kernel refused was not sent: it is counted only in `send_errors`, by the name
    of the error. `unknown` counts requests whose reply this host may have lost, `skipped` those
    that this program was too busy to send, `unresolved` those for which no address was known.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.unknown = 0
        self.skipped = 0
        self.unresolved = 0
        self.rtts: list[float] = []
        self._packets: list[tuple[int, int | None]] = []
        self.unexpected_replies: Counter[UnexpectedReply] = Counter()
        self.send_errors: Counter[str] = Counter()

    @property
    def round_trips(self) -> tuple[int | None, ...]:
        """Every packet in the order of sending, as `Measurement.round_trips` has them."""
        return tuple(units for _, units in sorted(self._packets, key=itemgetter(0)))

    @property
    def expected(self) -> int:
        """How many requests should have been sent so far."""
        return self.sent + self.skipped + self.unresolved + self.send_errors.total()

    def settled(self, echo: Echo) -> None:
        """Count a request that was answered or timed out."""
        self.sent += 1
        if echo.received:
            self.received += 1
        elif echo.received is None:
            self.unknown += 1
        if echo.rtt is not None:
            self.rtts.append(echo.rtt)
        units = None if echo.rtt is None else round(echo.rtt / ROUND_TRIP_UNIT)
        self._packets.append((echo.sent_ns, units))

    def unexpected(self, echo: Echo, kind: UnexpectedReply) -> None:
        """Count a reply that does not answer its request."""
        self.unexpected_replies[kind] += 1

    def send_failed(self, error: OSError) -> None:
        """Count a request that the kernel refused."""
        self.send_errors[errno.errorcode.get(error.errno or 0, str(error))] += 1

    def reading(self, conditions: Mapping[str, Any]) -> Reading:
        """The result of the series.

        Raises `NoData` where no address was known (`name_not_resolved`), where the kernel refused
        the requests (`not_sent`: a missing route or cable at this host says nothing about the
        office), and where this host may have lost replies or was too busy to send
        (`host_overloaded`); `Failed` (`no_reply`) where no reply arrived. If replies arrived, but
        this host could time none, there is no RTT, and `conditions["untimed"]` is their number.
        """
        known = {**conditions, **self._extra_conditions()}
        self._check_conclusive(known)
        values = summarise(self.rtts, self.sent, self.received)
        if not self.received:
            raise Failed(Cause.NO_REPLY, values=values, conditions=known)
        return Reading(values, known)

    def _extra_conditions(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            kind.value: count for kind, count in self.unexpected_replies.items()
        }
        for name in ("skipped", "unresolved"):
            if count := getattr(self, name):
                found[name] = count
        if self.send_errors:
            found["refused"] = dict(self.send_errors)
        if self.received and not self.rtts:
            found["untimed"] = self.received
        return found

    def _check_conclusive(self, conditions: dict[str, Any]) -> None:
        """Raise `NoData` if the counts say nothing about the network."""
        if self.unknown:
            detail = "the kernel dropped replies that this program did not read in time"
            raise NoData(Cause.HOST_OVERLOADED, detail, conditions=conditions)
        expected = self.expected
        if self.sent > _MIN_SENT * expected:
            return
        reasons = {
            Cause.NAME_NOT_RESOLVED: self.unresolved,
            Cause.NOT_SENT: self.send_errors.total(),
            Cause.HOST_OVERLOADED: self.skipped,
        }
        cause = max(reasons, key=lambda cause: reasons[cause]) if expected else Cause.NOT_SENT
        detail = f"{self.sent} of {expected} requests were sent" if expected else "nothing to send"
        raise NoData(cause, detail, conditions=conditions)
