"""The vocabulary of a judgement: verdicts, their reasons, doubts and notes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LineVerdict(StrEnum):
    """What would help an office; the texts for people are under `capacity`."""

    REPAIR = "repair"
    """Contracted but not delivered: below the contract's own mark, or down longer than promised."""
    LINE_QUALITY = "line_quality"
    """It loses more packets than allowed."""
    UPGRADE = "upgrade"
    """It delivers what was contracted, and that is less than needed."""
    NEED_NOT_MET = "need_not_met"
    """The contract is kept and nearly covers the need, but what arrives is less than needed."""
    OUTAGES = "outages"
    """Down for longer than allowed, by several causes of which none exceeds that alone."""
    POWER = "power"
    LAN = "lan"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"
    NOTHING = "nothing"
    """It delivers more than is needed."""


class VerdictReason(StrEnum):
    """What a verdict rests on, where the verdict alone does not say it."""

    SPEED = "speed"
    CORE = "core"
    """In office hours although the line was idle: the operator's network behind it."""
    DOWN = "down"
    LOSS = "loss"


class Condition(StrEnum):
    """When the trouble occurs."""

    ALWAYS = "always"
    OFFICE_HOURS = "office_hours"
    OFF_HOURS = "off_hours"


class Doubt(StrEnum):
    """Why there is not enough evidence."""

    FEW_DAYS = "few_days"
    FEW_RATE_DAYS = "few_rate_days"
    """Too few days with tests of the line's own speed."""
    FEW_LOSS_DAYS = "few_loss_days"
    NO_CONTRACT = "no_contract"
    NO_RATE = "no_rate"
    """No test measured the line itself (see `delivered.Basis`)."""
    CONTRACT_UNDECIDED = "contract_undecided"
    """The interval contains the mark below which the contract is not kept."""
    NEED_UNDECIDED = "need_undecided"
    """The interval contains the need."""
    LINE_FULL = "line_full"
    """The line was full at times; it is unknown whether by need or by elastic traffic.
    """
    LOSS_UNDECIDED = "loss_undecided"
    PING_ONLY = "ping_only"
    """Echo requests were lost, but not calls or packet trains: the router may not answer every
    request."""
    CALLS_ONLY = "calls_only"
    """Calls lost packets, but echo requests of the same hours did not."""
    TCP_LOSS = "tcp_loss"
    """Speed tests were held back by lost packets; packet trains carried the contracted rate."""
    OFTEN_SHORT = "often_short"
    """The median keeps the contract, but many of the tests do not."""
    LOAD_UNKNOWN = "load_unknown"
    """Trouble in office hours only, and the office's own traffic was not read."""
    ONE_WAY = "one_way"
    """One way much slower than the other: a duplex fault of the LAN looks the same."""
    LAN_FAULT = "lan_fault"
    """The router reports that the office's own network runs half duplex or damages packets; a slow
    test is then no evidence about the line."""
    OUTAGES_UNEXPLAINED = "outages_unexplained"
    """It was unreachable for longer than promised, and it is not known whether line or power
    failed.
    """
    LOSS_FIRST = "loss_first"
    """By simulated calls the speed to be ordered brings them to the required grade only if the loss
    is repaired, or the repair alone does."""
    NOT_CURED = "not_cured"
    """By simulated calls neither the speed to be ordered does, nor a repair, nor both."""
    AVAILABILITY_UNDECIDED = "availability_undecided"
    """Too much of the time is not known."""


class Note(StrEnum):
    """Information stated with a verdict that requires no action."""

    CHANGED = "changed"
    """The line's speed or its contract changed within the period; figures are those since."""
    POLICED = "policed"
    """Short tests exceed the sustained rate; the sustained rate is stated."""
    HABIT = "habit"
    """The office is switched off at night."""
    SHARED = "shared"
    """Faults that all offices had at once."""
    INCIDENT = "incident"
    """Most of the trouble was one incident."""
    OWN_LOAD = "own_load"
    """The office's own traffic caused the loss by filling the line."""
    POWER_FIRST = "power_first"
    """Without power for much of the office hours: more speed alone does not help."""
    CALLS_SUFFICE = "calls_suffice"
    """The conference tests reached the required grade nevertheless."""
    OFF_HOURS_ONLY = "off_hours_only"
    """Power or LAN failed outside office hours only."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A verdict with its reason and the hours in which it applies."""

    verdict: LineVerdict
    reason: VerdictReason | None = None
    condition: Condition = Condition.ALWAYS


@dataclass(frozen=True, slots=True)
class NeedRange:
    """The needs in bit/s for which a verdict holds; `high` is None without an upper end."""

    low: float
    high: float | None
