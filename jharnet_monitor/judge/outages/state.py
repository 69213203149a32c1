"""The state of an office now, from what is known at this moment. Pure: no clock, no I/O.

Unknown is never up and never down. A state is claimed only if the evidence supports it; whether the
line or the power failed is decided afterwards (`causes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.model import OfficeState


class AgentPresence(StrEnum):
    """What is known about an office's agent now."""

    HEARD = "heard"
    """Heard within the last few seconds: packets from behind the router arrive."""
    SILENT = "silent"
    """Was connected, fell silent, and did not sign off."""
    GOODBYE = "goodbye"
    """Signed off: the agent was stopped or the PC shut down."""
    NEVER = "never"
    """Expected, but has never connected to this hub."""
    AWAITED = "awaited"
    """The hub started a moment ago: the agent may still be reconnecting."""
    NOT_EXPECTED = "not_expected"
    """No agent is configured for the office."""


@dataclass(frozen=True, slots=True)
class LiveEvidence:
    """What the hub knows about one office at one moment.

    `router` and `pc` say whether the address answers echo requests, after debouncing; None if none
    is configured or it is not known yet. `uplink` says whether headquarters' uplink works
    (`uplink_works`); None if that is not known.
    """

    router: bool | None = None
    pc: bool | None = None
    agent: AgentPresence = AgentPresence.NOT_EXPECTED
    uplink: bool | None = None
    hub_healthy: bool = True
    planned: bool = False


def uplink_works(gateway: bool | None, offices_answering: bool) -> bool | None:
    """Whether headquarters' uplink carries packets; None if that cannot be determined.

    An office that answers proves that the uplink works, even if the gateway ignores echo requests.

    >>> uplink_works(False, True), uplink_works(False, False), uplink_works(None, False)
    (True, False, None)
    """
    return True if offices_answering else gateway


def live_state(evidence: LiveEvidence) -> OfficeState:
    """The state of one office now.

    >>> live_state(LiveEvidence(router=True, pc=True, agent=AgentPresence.HEARD)).value
    'up'
    >>> live_state(LiveEvidence(router=True, pc=False, agent=AgentPresence.GOODBYE)).value
    'agent_off'
    >>> live_state(LiveEvidence(router=True, pc=False, agent=AgentPresence.SILENT)).value
    'lan_down'
    >>> live_state(LiveEvidence(router=False, agent=AgentPresence.SILENT, uplink=False)).value
    'uplink_down'
    """
    if evidence.planned:
        return OfficeState.PLANNED
    if not evidence.hub_healthy:
        return OfficeState.MONITOR_DOWN
    if evidence.agent is AgentPresence.HEARD:
        return OfficeState.UP
    if evidence.router or evidence.pc:
        return _state_behind_router(evidence)
    if evidence.uplink is False:
        return OfficeState.UPLINK_DOWN
    return _state_without_answer(evidence)


def _state_behind_router(evidence: LiveEvidence) -> OfficeState:
    """The state if the line works: what is behind the router?"""
    if evidence.agent in (AgentPresence.GOODBYE, AgentPresence.NEVER):
        return OfficeState.AGENT_OFF
    if evidence.pc:
        return OfficeState.UP
    if evidence.agent is AgentPresence.AWAITED:
        return OfficeState.UNKNOWN
    if evidence.pc is None and evidence.agent is AgentPresence.NOT_EXPECTED:
        return OfficeState.UP  # nothing behind the router is configured to answer
    return OfficeState.LAN_DOWN


def _state_without_answer(evidence: LiveEvidence) -> OfficeState:
    """The state if nothing at the office answers although headquarters' uplink is not down."""
    if evidence.router is False:
        return OfficeState.UNREACHABLE
    if evidence.pc is False:
        # If no router is configured, a PC that was shut down says nothing about the line.
        shut_down = evidence.agent is AgentPresence.GOODBYE
        return OfficeState.UNKNOWN if shut_down else OfficeState.UNREACHABLE
    return OfficeState.UNKNOWN
