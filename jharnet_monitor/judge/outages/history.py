"""Since when an office has been in its state, and since when nothing there has answered. Pure. A
restart of the hub ends neither: earlier states are read back from the event log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from jharnet_monitor.model import OfficeState

GAP = timedelta(hours=1)
"""A state that is the same before and after an unknown period up to this long counts as one."""
UPLINK_MARGIN = timedelta(seconds=15)
"""Headquarters' uplink fails and returns for all offices, but not in the same second. An outage
next to an outage of the uplink and shorter than this is attributed to the uplink."""

ANSWERING = frozenset({OfficeState.UP, OfficeState.AGENT_OFF, OfficeState.LAN_DOWN})
"""States that prove that something at the office answers."""
_NOT_KNOWN = frozenset({OfficeState.UNKNOWN, OfficeState.MONITOR_DOWN})


@dataclass(frozen=True, slots=True)
class _PreviousState:
    """A state that ended at `at`."""

    state: OfficeState
    since: datetime
    at: datetime


@dataclass(slots=True)
class StateHistory:
    """What follows from an office's states in their order.

    >>> noon = datetime(2026, 11, 25, 12)
    >>> office = StateHistory()
    >>> for minute, state in enumerate(("up", "unreachable", "monitor_down", "unreachable")):
    ...     office.add(OfficeState(state), noon + timedelta(minutes=minute))
    >>> f"{office.since:%H:%M}", f"{office.outage_start:%H:%M}", office.outages
    ('12:01', '12:01', 0)
    >>> office.add(OfficeState.UP, noon + timedelta(minutes=4))
    >>> office.outage_start, office.outages
    (None, 1)
    """

    state: OfficeState = OfficeState.UNKNOWN
    since: datetime | None = None
    """When the current state began."""
    outage_start: datetime | None = None
    """When the office stopped answering; None once it answers again. Unknown states, as while the
    uplink is down, do not end an outage."""
    outages: int = 0
    """Outages that are over."""
    _previous: _PreviousState | None = None
    """The last known state before the present one."""
    _after_uplink: bool = False
    """The uplink came back just before the present outage."""

    def add(self, state: OfficeState, at: datetime) -> None:
        """Add a change of the office's state."""
        if state is self.state:
            return
        if self.since is not None and self.state not in _NOT_KNOWN:
            self._previous = _PreviousState(self.state, self.since, at)
        self._judge_outage(state, at)
        self.since = self._since(state, at)
        self.state = state

    def _since(self, state: OfficeState, at: datetime) -> datetime:
        previous = self._previous
        same = self.state in _NOT_KNOWN and previous is not None and previous.state is state
        return previous.since if same and previous is not None and at - previous.at <= GAP else at

    def _judge_outage(self, state: OfficeState, at: datetime) -> None:
        start = self.outage_start
        if start is None:
            if state is OfficeState.UNREACHABLE:
                self.outage_start = at
                self._after_uplink = self.state is OfficeState.UPLINK_DOWN
            return
        if state in ANSWERING:
            self.answer(at)
        elif state is OfficeState.UPLINK_DOWN and at - start < UPLINK_MARGIN:
            self.outage_start = None

    def answer(self, at: datetime) -> None:
        """Note that the office answers, whatever its state: in a planned window, too, an outage is
        over then.

        >>> noon = datetime(2026, 11, 25, 12)
        >>> office = StateHistory()
        >>> for minute, state in enumerate(("up", "unreachable", "planned")):
        ...     office.add(OfficeState(state), noon + timedelta(minutes=minute))
        >>> office.answer(noon + timedelta(minutes=5))
        >>> office.state.value, office.outage_start, office.outages
        ('planned', None, 1)
        """
        if self.outage_start is None:
            return
        short = at - self.outage_start < UPLINK_MARGIN
        self.outage_start = None
        self.outages += not (short and self._after_uplink)
