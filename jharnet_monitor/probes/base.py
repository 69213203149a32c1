"""What the two halves of a probe, at the hub and at the agent, receive and return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, Outcome, Route, out_of_range

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office


class ProbeError(Exception):
    """A probe ended without a full result; `values` and `conditions` hold what was measured."""

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
    """The network prevented it: outcome `failed`."""


class NoData(ProbeError):
    """The monitor could not measure: outcome `no_data`. It says nothing about the network."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe measured: values by quantity, and the conditions of the measurement."""

    values: Mapping[str, float]
    conditions: Mapping[str, Any] = field(default_factory=dict)


DURATION_DECIMALS = 3
"""Of the seconds that a minute of latency lasted: a start is kept in milliseconds, too."""


def measurement_of(
    office: str,
    probe: str,
    result: Reading | ProbeError,
    started_at: datetime,
    duration: float,
    conditions: Mapping[str, Any] | None = None,
) -> Measurement:
    """Make a measurement of a result or an error; `duration` is in seconds. `conditions` are the
    caller's; the probe's conditions override those of the same name. A reading with an impossible
    value, such as a browser or router may report, becomes `no_data` (`bad_report`) without values.
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
    """The other end of a channel is gone: the agent disconnected, or its task ended."""


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
        """The id of the agent's office."""

    @property
    def address(self) -> str | None:
        """The IP address from which it connected."""

    @property
    def features(self) -> frozenset[str]:
        """The agent tasks that this agent offers."""

    @property
    def in_browser(self) -> bool:
        """Whether it is a page in a browser, which has no sockets and no counters of a kernel."""

    @property
    def behind_proxy(self) -> bool:
        """Whether a reverse proxy passes its connections on: the hub's kernel then sees those of
        the proxy, and nothing of the line.
        """

    async def open(self, task: str, params: Mapping[str, Any]) -> Channel:
        """Start an agent task; raises `ChannelClosed` or `NoData`."""

    async def is_stalled(self) -> bool:
        """Whether the line works but the agent's program is silent. Its computer is then overloaded
        or asleep, and the line is not at fault. `behind_proxy` only the silence is known.
        """

    def serve_transfer(self, handler: Callable[[Any], Awaitable[Any]]) -> str:
        """Offer one HTTP request to this agent; returns its path below the hub's address.

        `handler` is an aiohttp handler (request -> response). The path works once, only with this
        agent's token, and only within 60 s.
        """


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What the agent's half of a probe receives.

    `hub` is the hub's address (`https://host:9797`), `http` an aiohttp `ClientSession` that
    trusts the hub and carries the token, `office` the agent's own office.
    """

    office: str
    clock: Clock
    hub: str
    http: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


AgentTask = Callable[[Channel, Mapping[str, Any], AgentContext], Awaitable[None]]
"""The agent's half of a probe, called with (channel, params, context).

It ends when the channel closes.
"""


async def do_nothing() -> None:
    """The `free_line` of a run that holds no line."""


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What the hub's half of a probe receives.

    `office` is an office, or `headquarters_office`. `agent` is None when no agent of the office is
    connected. `granted` is the rate in bit/s that the run may use of the uplink. `others` names the
    probes that were already running on the office. `memory` is what the probe keeps about this
    office between runs, as long as the hub runs. `bytes_left` is the rest of the office's budget
    for today. `recent` holds the newest `ok` runs on the office before this one, by series.
    `free_line` is what an `undisturbed` probe calls once it no longer loads the line, if that is
    before its end.
    """

    config: Config
    office: Office
    clock: Clock
    agent: AgentLink | None
    options: Mapping[str, Any] = field(default_factory=dict)
    granted: float = inf
    others: tuple[str, ...] = ()
    memory: dict[str, Any] = field(default_factory=dict)
    bytes_left: float = inf
    recent: Mapping[str, Measurement] = field(default_factory=dict)
    free_line: Callable[[], Awaitable[None]] = do_nothing

    @property
    def at_headquarters(self) -> bool:
        """Whether this run measures headquarters' own uplink."""
        return self.office.id == HEADQUARTERS

    @property
    def route(self) -> Route:
        """The measured route, from the options."""
        return Route(self.options.get("path", Route.JHARNET))


def headquarters_office(config: Config) -> Office:
    """Headquarters described as an office, whose line is the uplink."""
    from jharnet_monitor.config.schema import Link, Office  # noqa: PLC0415 - only the hub needs it

    uplink = config.hub.uplink
    return Office(
        id=HEADQUARTERS,
        name="Headquarters",
        name_hi="मुख्यालय",
        router=uplink.gateway or "127.0.0.1",
        link=Link.model_construct(contracted=uplink.contracted),
        snmp=uplink.snmp,
    )
