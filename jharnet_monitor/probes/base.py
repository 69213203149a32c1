"""What every probe is given and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config, Office
from jharnet_monitor.model import Cause


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
    """What a probe saw: quantities by their names in `QUANTITIES`, and under what conditions."""

    values: Mapping[str, float]
    conditions: Mapping[str, Any] = field(default_factory=dict)


class ChannelClosed(Exception):
    """The other end of a channel went away: the agent left, or the task there ended."""


class Channel(Protocol):
    """A stream of small JSON messages between the two halves of a running probe."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed`."""

    async def close(self) -> None:
        """End the far half; idempotent."""


class AgentLink(Protocol):
    """A live session with an office's agent, as the hub's half of a probe sees it."""

    @property
    def office(self) -> str:
        """Whose agent it is."""

    @property
    def address(self) -> str | None:
        """From where it dialled in."""

    @property
    def features(self) -> frozenset[str]:
        """The far sides that this agent offers."""

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start the far half `task` on the agent; raises `ChannelClosed` or `NoData`."""

    def serve_transfer(self, handler: Callable[[Any], Awaitable[Any]]) -> str:
        """Offer a one-time HTTP exchange to this agent; gives the path below the hub's address.

        `handler` is an aiohttp handler (request -> response); the path works once, for this
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

    `agent` is None when no agent of the office is connected. `others` names what else was
    running on the office or the uplink; it goes into the conditions. `memory` is what the probe
    keeps of this office from one run to the next, while the hub runs.
    """

    config: Config
    office: Office
    clock: Clock
    agent: AgentLink | None
    options: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """One entry of `PROBES`.

    `heavy` probes take turns and draw on the byte budget: `cost` estimates the bytes that one
    run puts on the office's line, `reserve` the rate in bit/s that it takes of the uplink.
    `time_limit` is in seconds.
    """

    name: str
    run: Callable[[ProbeContext], Awaitable[Reading]]
    time_limit: Callable[[ProbeContext], float]
    heavy: bool = False
    needs_agent: bool = False
    cost: Callable[[ProbeContext], int] = lambda context: 0
    reserve: Callable[[ProbeContext], float] = lambda context: 0.0
