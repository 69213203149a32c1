"""What the two halves of a probe are given, and what they give back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Protocol

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config, Office
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, Outcome, Route, out_of_range


class ProbeError(Exception):
    """A probe without a full result; what was measured all the same goes with it."""

    def __init__(
        self,
        cause: Cause,
        detail: str = "",
        *,
        values: Mapping[str, float] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{cause.value}: {detail}" if detail else cause.value)
        self.cause = cause
        self.detail = detail
        self.values = dict(values or {})
        self.conditions = dict(conditions or {})


class Failed(ProbeError):
    """The network did it: outcome `failed`."""


class NoData(ProbeError):
    """We could not measure: outcome `no_data`. Never a bad network, never a zero."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe measured: values by quantity, and the conditions that they were taken under."""

    values: Mapping[str, float]
    conditions: Mapping[str, Any] = field(default_factory=dict)


def measurement_of(
    office: str,
    probe: str,
    result: Reading | ProbeError,
    started_at: datetime,
    duration: float,
    conditions: Mapping[str, Any] | None = None,
) -> Measurement:
    """The measurement of a result, whatever it is; `duration` in seconds.

    `conditions` are the caller's; where the probe gives one of the same name, the probe's holds.
    A reading with a value that cannot be true, such as a browser or a router may report, is
    `no_data` (`bad_report`), and has no values.
    """
    if wrong := out_of_range(probe, result.values):
        if isinstance(result, Failed):
            result = Failed(result.cause, result.detail, conditions=result.conditions)
        else:
            detail = "; ".join(wrong)
            result = NoData(Cause.BAD_REPORT, detail, conditions=dict(result.conditions))
    known = {**(conditions or {}), **result.conditions}
    if isinstance(result, ProbeError):
        outcome = Outcome.FAILED if isinstance(result, Failed) else Outcome.NO_DATA
        if result.detail:
            known.setdefault("detail", result.detail[:300])
        cause: str | None = result.cause.value
    else:
        outcome, cause = Outcome.OK, None
    return Measurement(office, probe, started_at, duration, outcome, cause, known, result.values)


class ChannelClosed(Exception):
    """The other end of a channel went away: the agent left, or its task ended."""


class Channel(Protocol):
    """A stream of small JSON messages between the two halves of a running probe."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed`."""

    async def close(self) -> None:
        """End the agent's half; idempotent."""


class AgentLink(Protocol):
    """A live session with an office's agent, as the hub's half of a probe sees it."""

    @property
    def office(self) -> str:
        """Whose agent it is."""

    @property
    def address(self) -> str | None:
        """The address that it dialled in from."""

    @property
    def features(self) -> frozenset[str]:
        """The agent tasks that this agent offers."""

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start an agent task; raises `ChannelClosed` or `NoData`."""

    def serve_transfer(self, handler: Callable[[Any], Awaitable[Any]]) -> str:
        """Offer a one-time HTTP exchange to this agent; gives the path below the hub's address.

        `handler` is an aiohttp handler (request -> response). The path works once, for this
        agent's token alone, and within 60 s.
        """


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What the agent's half of a probe is given.

    `hub` is the hub's address (`https://host:9797`), `http` an aiohttp `ClientSession` that
    trusts the hub and carries the token, `office` the agent's own office.
    """

    office: str
    clock: Clock
    hub: str
    http: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


AgentTask = Callable[[Channel, Mapping[str, Any], AgentContext], Awaitable[None]]
"""The agent's half of a probe: (channel, params, context). It ends when the channel closes."""


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What the hub's half of a probe is given.

    `office` is an office, or headquarters in the place of one. `agent` is None when no agent of
    the office is connected. `granted` is the rate in bit/s that the run may take of the uplink.
    `others` names the probes that were running on the office already. `memory` is what the probe
    keeps of this office from one run to the next, while the hub runs.
    """

    config: Config
    office: Office
    clock: Clock
    agent: AgentLink | None
    options: Mapping[str, Any] = field(default_factory=dict)
    granted: float = inf
    others: tuple[str, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def at_headquarters(self) -> bool:
        """Whether headquarters' own line is measured."""
        return self.office.id == HEADQUARTERS

    @property
    def route(self) -> Route:
        """Which way is measured, by the options."""
        return Route(self.options.get("path", Route.JHARNET))
