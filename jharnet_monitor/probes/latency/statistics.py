"""Counts what became of a run of echo requests, and says what that amounts to."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.judge.latency import summarise
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Failed, NoData, Reading
from jharnet_monitor.probes.latency.pinger import Echo, Stray

_ENOUGH = 0.5
"""A run of which less than this share was sent says too little about its time."""


class EchoTally:
    """The requests of one run. `rtts` are in seconds, in the order of the replies' arrival.

    A request that the kernel refused was not sent: it is in `refused`, by the error's name, and
    in no other count. `unknown` are those whose reply our own host may have lost. `skipped` are
    those that this program was too busy to send, `unresolved` those without an address to go to.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.unknown = 0
        self.skipped = 0
        self.unresolved = 0
        self.rtts: list[float] = []
        self.strays: Counter[Stray] = Counter()
        self.refused: Counter[str] = Counter()

    @property
    def due(self) -> int:
        """How many requests were to be sent, as far as this program came to it."""
        return self.sent + self.skipped + self.unresolved + self.refused.total()

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

    def reading(self, conditions: Mapping[str, Any]) -> Reading:
        """The outcome of the run.

        Raises `NoData` where there was no address (`name_not_resolved`), where nothing left this
        host (`not_sent`: a missing route or cable here says nothing about the office), where
        this host itself may have lost replies or was too busy to send (`host_overloaded`); and
        `Failed` (`no_reply`) where not one reply came.
        """
        told = {**conditions, **self._remarks()}
        self._refuse_to_judge(told)
        values = summarise(self.rtts, self.sent, self.received)
        if not self.received:
            raise Failed(Cause.NO_REPLY, values=values, conditions=told)
        return Reading(values, told)

    def _remarks(self) -> dict[str, Any]:
        remarks: dict[str, Any] = {kind.value: count for kind, count in self.strays.items()}
        for name in ("skipped", "unresolved"):
            if count := getattr(self, name):
                remarks[name] = count
        if self.refused:
            remarks["refused"] = dict(self.refused)
        return remarks

    def _refuse_to_judge(self, conditions: dict[str, Any]) -> None:
        if self.unknown:
            detail = "the kernel threw replies away that this program did not fetch in time"
            raise NoData(Cause.HOST_OVERLOADED, detail, conditions=conditions)
        due = self.due
        if self.sent > _ENOUGH * due:
            return
        reasons = {
            Cause.NAME_NOT_RESOLVED: self.unresolved,
            Cause.NOT_SENT: self.refused.total(),
            Cause.HOST_OVERLOADED: self.skipped,
        }
        cause = max(reasons, key=lambda cause: reasons[cause]) if due else Cause.NOT_SENT
        detail = f"{self.sent} of {due} requests left" if due else "nothing was due"
        raise NoData(cause, detail, conditions=conditions)
