"""Counts what became of a run of echo requests, and says what that amounts to."""

from __future__ import annotations

import errno
from collections import Counter
from typing import Any

from jharnet_monitor.judge.latency import summarise
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Failed, NoData, Reading
from jharnet_monitor.probes.pinger import Echo, Stray


class Tally:
    """The requests of one run. `rtts` are in seconds, in the order of the replies' arrival.

    A request that the kernel refused was not sent: it is in `refused`, by the error's name, and
    in no other count. `unknown` are those whose reply our own host may have lost.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.unknown = 0
        self.rtts: list[float] = []
        self.strays: Counter[Stray] = Counter()
        self.refused: Counter[str] = Counter()

    def settled(self, echo: Echo) -> None:
        """Count a request whose fate is known."""
        self.sent += 1
        if echo.received:
            self.received += 1
        elif echo.received is None:
            self.unknown += 1
        if echo.rtt is not None:
            self.rtts.append(echo.rtt)

    def stray(self, echo: Echo, kind: Stray) -> None:
        """Count a reply that does not count."""
        self.strays[kind] += 1

    def refuse(self, error: OSError) -> None:
        """Count a request that did not leave."""
        self.refused[errno.errorcode.get(error.errno or 0, str(error))] += 1

    def reading(self, conditions: dict[str, Any]) -> Reading:
        """The outcome of the run.

        Raises `NoData` where nothing left this host (`not_sent`: a missing route or cable here
        says nothing about the office) or where this host itself may have lost replies
        (`host_overloaded`), and `Failed` (`no_reply`) where not one reply came.
        """
        conditions |= {kind.value: count for kind, count in self.strays.items()}
        if self.refused:
            conditions["refused"] = dict(self.refused)
        if not self.sent:
            reasons = ", ".join(self.refused) or "nothing was due"
            raise NoData(Cause.NOT_SENT, reasons, conditions=conditions)
        if self.unknown:
            raise NoData(
                Cause.HOST_OVERLOADED,
                "the kernel had to throw replies away: this program did not fetch them in time",
                conditions=conditions,
            )
        values = summarise(self.rtts, self.sent, self.received)
        if not self.received:
            raise Failed(Cause.NO_REPLY, values=values, conditions=conditions)
        return Reading(values, conditions)
