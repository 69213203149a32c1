"""What state an office is in, from what is known at this moment. Pure: no clock, no I/O.

The words are those of the method page ("States and causes"): unknown is never up and never down,
and a state is only claimed from evidence that can carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.model import OfficeState


class AgentPresence(StrEnum):
    """What is known of an office's agent now."""

    HEARD = "heard"
    """Heard from within the last few seconds: packets come through from behind the router."""
    SILENT = "silent"
    """Was here, fell silent, and did not say goodbye."""
    GOODBYE = "goodbye"
    """Said goodbye: somebody stopped it or switched the PC off."""
    NEVER = "never"
    """Expected, and never here since the hub knows the office."""
    AWAITED = "awaited"
    """The hub started a moment ago: the agent may still be on its way back."""
    NOT_EXPECTED = "not_expected"
    """No agent is configured for the office."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the hub knows of one office at one moment.

    `router` and `pc` say whether the address answers echo requests, after damping; None where
    none is configured or it is not known yet. `uplink` says whether headquarters' own line
    works (`uplink_works`); None where that is not known.
    """

    router: bool | None = None
    pc: bool | None = None
    agent: AgentPresence = AgentPresence.NOT_EXPECTED
    uplink: bool | None = None
    hub_healthy: bool = True
    planned: bool = False


def uplink_works(gateway: bool | None, offices_answering: bool) -> bool | None:
    """Whether headquarters' uplink carries packets; None where that cannot be told.

    An office that answers proves the uplink, whatever the gateway thinks of echo requests.

    >>> uplink_works(False, True), uplink_works(False, False), uplink_works(None, False)
    (True, False, None)
    """
    return True if offices_answering else gateway


def live_state(evidence: Evidence) -> OfficeState:
    """The state of one office now.

    >>> live_state(Evidence(router=True, pc=True, agent=AgentPresence.HEARD)).value
    'up'
    >>> live_state(Evidence(router=True, pc=False, agent=AgentPresence.GOODBYE)).value
    'agent_off'
    >>> live_state(Evidence(router=True, pc=False, agent=AgentPresence.SILENT)).value
    'lan_down'
    >>> live_state(Evidence(router=False, agent=AgentPresence.SILENT, uplink=False)).value
    'uplink_down'
    """
    if evidence.planned:
        return OfficeState.PLANNED
    if not evidence.hub_healthy:
        return OfficeState.MONITOR_DOWN
    if evidence.agent is AgentPresence.HEARD:
        return OfficeState.UP
    if evidence.router or evidence.pc:
        return _behind_the_router(evidence)
    if evidence.uplink is False:
        return OfficeState.UPLINK_DOWN
    return _no_answer(evidence)


def _behind_the_router(evidence: Evidence) -> OfficeState:
    """The line works; what of the office behind it?"""
    if evidence.agent in (AgentPresence.GOODBYE, AgentPresence.NEVER):
        return OfficeState.AGENT_OFF
    if evidence.pc:
        return OfficeState.UP
    if evidence.agent is AgentPresence.AWAITED:
        return OfficeState.UNKNOWN
    if evidence.pc is None and evidence.agent is AgentPresence.NOT_EXPECTED:
        return OfficeState.UP  # nothing behind the router was ever promised to answer
    return OfficeState.LAN_DOWN


def _no_answer(evidence: Evidence) -> OfficeState:
    """Nothing of the office answers, and it is not for headquarters' own line."""
    if evidence.router is False:
        return OfficeState.UNREACHABLE
    if evidence.pc is False:
        # Without a router to ask, a PC that was switched off says nothing about the line.
        shut = evidence.agent is AgentPresence.GOODBYE
        return OfficeState.UNKNOWN if shut else OfficeState.UNREACHABLE
    return OfficeState.UNKNOWN
