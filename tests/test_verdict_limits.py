"""The verdict on a line at its limits: what it says on either side of each, and of each doubt.

The line has 4 Mbit/s by contract, of which 0.8 x 0.97 must arrive: 3.104 Mbit/s. A need of more
than 4.2 is certainly beyond the contract. Loss of 2 % and downtime of 1 % are allowed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jharnet_monitor.judge.line.delivered import DeliveredRate
from jharnet_monitor.judge.line.facts import Line, LineDirection
from jharnet_monitor.judge.line.grounds import (
    Condition,
    Doubt,
    Ground,
    LineVerdict,
    NeedRange,
    Note,
    VerdictReason,
)
from jharnet_monitor.judge.line.loss import LossRates
from jharnet_monitor.judge.line.need import NeedPolicy, needs_of, next_slab
from jharnet_monitor.judge.line.verdict import Assessment, judge_line
from jharnet_monitor.judge.outages.downtime import Downtime, Outages
from jharnet_monitor.judge.statistics.intervals import Interval
from tests.histories import TARIFF, THRESHOLDS, policy_of

MBIT = 1e6


def _around(value: float, days: int = 30, width: float = 0.01) -> Interval:
    return Interval(value, value * (1 - width), value * (1 + width), 300, days)


CLEAN, DIRTY = _around(0.001), _around(0.05)
UNCLEAR = Interval(0.02, 0.015, 0.025, 300, 30)
WAY = LineDirection(contracted=4 * MBIT, delivered=DeliveredRate(_around(3.9 * MBIT)))
LINE = Line(WAY, WAY, LossRates(office=CLEAN, night=CLEAN), days=30,
            outages=Outages(Downtime(known=1.0), Downtime(known=1.0)))  # fmt: skip


def _judged(line: Line, need: float = 3.0, **limits: Any) -> Assessment:
    return judge_line(line, policy_of(need * MBIT), replace(THRESHOLDS, **limits), TARIFF)


def _way(rate: float | Interval = 3.9, contracted: float | None = 4.0, **more: Any) -> Line:
    """The line with another direction towards the office."""
    median = _around(rate * MBIT) if isinstance(rate, float) else rate
    delivered = DeliveredRate(median, **more.pop("delivered", {}))
    down = LineDirection(None if contracted is None else contracted * MBIT, delivered, **more)
    return replace(LINE, down=down)


def _lossy(**more: Any) -> Line:
    return replace(LINE, loss=replace(LINE.loss, **more))


def _down(total: dict[str, float], office: dict[str, float] | None = None, **more: Any) -> Line:
    always, by_day = (Downtime(**({"known": 1.0} | part)) for part in (total, office or {}))
    return replace(LINE, outages=Outages(always, by_day, **more))


def _range(low: float, high: float | None) -> NeedRange:
    """A range of needs in Mbit/s, to be met but for rounding."""
    return NeedRange(pytest.approx(low * MBIT), high and pytest.approx(high * MBIT))  # type: ignore[arg-type]


def test_a_good_line_needs_nothing() -> None:
    """For all needs up to the lower end of what it delivers."""
    found = _judged(LINE)
    assert (found.verdicts, found.doubts, found.notes, found.grounds) == (
        (LineVerdict.NOTHING,), (), (), (),
    )  # fmt: skip
    assert found.holds == _range(0.0, 3.9 * 0.99)
    assert found.ground == Ground(LineVerdict.NOTHING) and found.slab is None


@pytest.mark.parametrize(
    ("line", "need", "verdicts", "doubts"),
    [
        # The contract: below the mark as a whole, around it, and above it.
        (_way(3.07), 3.0, ["repair"], []), (_way(3.08), 3.0, ["not_enough_evidence"],
         [Doubt.CONTRACT_UNDECIDED]),
        (_way(3.14), 3.0, ["nothing"], []),
        # The need: beyond the contract and 5 %, beyond what is delivered, around it.
        (LINE, 4.21, ["upgrade"], []), (LINE, 4.2, ["need_not_met"], []),
        (LINE, 3.95, ["need_not_met"], []), (LINE, 3.93, ["not_enough_evidence"],
         [Doubt.NEED_UNDECIDED]),
        (LINE, 3.87, ["not_enough_evidence"], [Doubt.NEED_UNDECIDED]),
        (LINE, 3.86, ["nothing"], []),
        # A direction without contract or rate, or measured on too few days.
        (_way(3.9, None), 3.0, ["not_enough_evidence"], [Doubt.NO_CONTRACT]),
        (_way(_around(3.9 * MBIT, days=19)), 3.0, ["not_enough_evidence"], [Doubt.FEW_RATE_DAYS]),
        (_way(_around(3.9 * MBIT, days=20)), 3.0, ["nothing"], []),
        (_way(Interval(3.9 * MBIT, None, None, 300, 30)), 3.0, ["not_enough_evidence"],
         [Doubt.NO_RATE]),
        (replace(LINE, days=20), 3.0, ["nothing"], []),
        (replace(LINE, days=19), 3.0, ["not_enough_evidence"], [Doubt.FEW_DAYS]),
        # Below a quarter of an equal contract one way: a duplex fault is possible.
        (_way(0.98), 3.0, ["repair", "not_enough_evidence"], [Doubt.ONE_WAY]),
        (_way(1.0), 3.0, ["repair"], []),
        # Packet trains reach the mark, tests are held back by loss.
        (_way(2.0, delivered={"by_loss": True}, capacity=_around(3.9 * MBIT)), 3.0,
         ["not_enough_evidence"], [Doubt.TCP_LOSS]),
        (_way(2.0, delivered={"by_loss": True}, capacity=_around(3.1 * MBIT)), 3.0, ["repair"], []),
        (_way(2.0, capacity=_around(3.9 * MBIT)), 3.0, ["repair"], []),
        # More than a fifth of the tests are below the mark.
        (_way(3.9, delivered={"short": _around(0.21)}), 3.0, ["not_enough_evidence"],
         [Doubt.OFTEN_SHORT]),
        (_way(3.9, delivered={"short": _around(0.2)}), 3.0, ["nothing"], []),
        # What the line carries by day.
        (_way(3.9, carried=_around(3.0 * MBIT, days=10)), 3.0, ["repair"], []),
        (_way(3.9, carried=_around(3.0 * MBIT, days=9)), 3.0, ["nothing"], []),
        (_way(3.9, carried=_around(3.1 * MBIT)), 3.0, ["nothing"], []),
        # By day tests get so little that twice the assumed traffic (2.1) cannot explain it.
        (_way(3.9, left=_around(0.99 * MBIT)), 3.0, ["not_enough_evidence"], [Doubt.LOAD_UNKNOWN]),
        (_way(3.9, left=_around(1.78 * MBIT)), 3.0, ["not_enough_evidence"], [Doubt.LOAD_UNKNOWN]),
        (_way(3.9, left=_around(1.79 * MBIT)), 3.0, ["nothing"], []),
        (_way(3.9, left=_around(0.99 * MBIT, days=9)), 3.0, ["nothing"], []),
        (_way(3.9, left=_around(0.99 * MBIT), carried=_around(3.9 * MBIT)), 3.0, ["nothing"], []),
        # Its own faults.
        (replace(_way(3.0), lan_faulty=True), 3.0, ["not_enough_evidence"], [Doubt.LAN_FAULT]),
        (replace(LINE, lan_faulty=True), 3.0, ["nothing"], []),
    ],
)  # fmt: skip
def test_speed_is_judged_by_whole_intervals(
    line: Line, need: float, verdicts: list[str], doubts: list[Doubt]
) -> None:
    """Of ± 1 %."""
    small = replace(policy_of(need * MBIT), video=need * MBIT * 0.7, other=0.0)
    # The assumed traffic matters only for `left`.
    policy = policy_of(need * MBIT) if line.down.left is None else replace(
        small, video=need * MBIT * 0.7 - 1.05e6, other=1.05e6)  # fmt: skip
    found = judge_line(line, policy, THRESHOLDS, TARIFF)
    assert [verdict.value for verdict in found.verdicts] == verdicts
    assert list(found.doubts) == doubts
    assert (found.slab is not None) is (verdicts == ["upgrade"])


@pytest.mark.parametrize(
    ("loss", "grounds", "doubts"),
    [
        ({"office": DIRTY, "night": DIRTY}, [("loss", "always")], []),
        ({"night": DIRTY}, [("loss", "off_hours")], []),
        ({"night": _around(0.05, days=19)}, [], [Doubt.FEW_LOSS_DAYS]),
        ({"night": _around(0.05, days=20)}, [("loss", "off_hours")], []),
        ({"night": None}, [], [Doubt.LOSS_UNDECIDED]),
        ({"night": UNCLEAR}, [], [Doubt.LOSS_UNDECIDED]),
        ({"office": UNCLEAR}, [], [Doubt.LOSS_UNDECIDED]),
        ({"office": DIRTY}, [("loss", "office_hours")], [Doubt.LOAD_UNKNOWN]),
        ({"office": DIRTY, "idle": DIRTY}, [("core", "office_hours")], []),
        # The operator's core only where the nights are certainly better.
        ({"office": DIRTY, "idle": DIRTY, "night": None}, [("loss", "office_hours")],
         [Doubt.LOSS_UNDECIDED]),
        ({"office": DIRTY, "idle": DIRTY, "night": UNCLEAR}, [("loss", "office_hours")],
         [Doubt.LOSS_UNDECIDED]),
        ({"office": DIRTY, "idle": DIRTY, "night": _around(0.05, days=19)},
         [("loss", "office_hours")], [Doubt.FEW_LOSS_DAYS]),
        ({"office": DIRTY, "idle": DIRTY, "night": _around(0.001, days=19)},
         [("loss", "office_hours")], [Doubt.FEW_LOSS_DAYS]),
        ({"office": DIRTY, "idle": CLEAN}, [], []),
        ({"office": DIRTY, "idle": CLEAN, "busy": DIRTY}, [], []),
        ({"office": DIRTY, "idle": UNCLEAR}, [], [Doubt.LOSS_UNDECIDED]),
        # Calls or packet trains lose little: only pings are lost.
        ({"office": DIRTY, "night": DIRTY, "calls": CLEAN}, [], [Doubt.PING_ONLY]),
        ({"office": DIRTY, "night": DIRTY, "trains": CLEAN}, [], [Doubt.PING_ONLY]),
        ({"office": DIRTY, "night": DIRTY, "calls": DIRTY, "trains": CLEAN}, [("loss", "always")],
         []),
        ({"office": DIRTY, "night": DIRTY, "trains_night": CLEAN}, [], [Doubt.PING_ONLY]),
        ({"night": DIRTY, "trains_night": CLEAN}, [], [Doubt.PING_ONLY]),
        ({"night": DIRTY, "calls": CLEAN}, [("loss", "off_hours")], []),
        ({"office": DIRTY, "calls": CLEAN}, [], [Doubt.PING_ONLY]),
        ({"calls": DIRTY}, [], [Doubt.CALLS_ONLY]),
    ],
)  # fmt: skip
def test_loss_is_the_lines_only_where_nothing_else_explains_it(
    loss: dict[str, Interval | None], grounds: list[tuple[str, str]], doubts: list[Doubt]
) -> None:
    """At night, by day, idle or busy, and by other packets than pings."""
    found = _judged(_lossy(**loss))
    seen = [(one.reason and one.reason.value, one.condition.value) for one in found.grounds]
    assert seen == grounds
    assert all(one.verdict is LineVerdict.LINE_QUALITY for one in found.grounds)
    assert list(found.doubts) == doubts
    assert (Note.OWN_LOAD in found.notes) is ("busy" in loss)


@pytest.mark.parametrize(
    ("line", "verdicts", "doubts"),
    [
        (_down({"link": 0.0101}), ["repair"], []), (_down({"link": 0.0099}), ["nothing"], []),
        (_down({}, {"link": 0.0101}), ["need_not_met"], []),
        (_down({}, {"link": 0.0099}), ["nothing"], []),
        (_down({}, {"power": 0.0101}), ["power"], []),
        (_down({}, {"power": 0.0099}), ["nothing"], []),
        # Exactly what is allowed.
        (_down({"link": 1 - 0.99}, {"link": 1 - 0.99}), ["nothing"], []),
        (_down({}, {"power": 1 - 0.99}), ["nothing"], []),
        (_down({}, {"lan": 1 - 0.99}), ["nothing"], []),
        (_down({}, {"lan": 0.0101}), ["lan"], []), (_down({}, {"lan": 0.0099}), ["nothing"], []),
        (_down({"unexplained": 0.0101}), ["not_enough_evidence"], [Doubt.OUTAGES_UNEXPLAINED]),
        (_down({}, {"unexplained": 0.0101}), ["not_enough_evidence"], [Doubt.OUTAGES_UNEXPLAINED]),
        (_down({}, {"unexplained": 0.0099}), ["nothing"], []),
        # Each below its limit, together above it.
        (_down({}, {"link": 0.006, "power": 0.005}), ["outages"], []),
        (_down({}, {"link": 0.005, "power": 0.0049}), ["nothing"], []),
        (_down({"link": 0.006, "unexplained": 0.005}), ["outages", "not_enough_evidence"],
         [Doubt.OUTAGES_UNEXPLAINED]),
        (_down({"link": 0.02, "unexplained": 0.005}), ["repair"], []),
        # Of the known time too much, of all time not.
        (_down({"known": 0.6, "link": 0.007}), ["not_enough_evidence"],
         [Doubt.AVAILABILITY_UNDECIDED]),
        (_down({}, {"known": 0.6, "power": 0.007}), ["not_enough_evidence"],
         [Doubt.AVAILABILITY_UNDECIDED]),
        (_down({}, {"known": 0.6, "lan": 0.007}), ["not_enough_evidence"],
         [Doubt.AVAILABILITY_UNDECIDED]),
        (_down({"known": 0.5}), ["nothing"], []),
        (_down({"known": 0.49}), ["not_enough_evidence"], [Doubt.AVAILABILITY_UNDECIDED]),
    ],
)  # fmt: skip
def test_outages_count_beyond_one_percent(
    line: Line, verdicts: list[str], doubts: list[Doubt]
) -> None:
    """Of the contract over all hours, of the district's in office hours."""
    found = _judged(line)
    assert [verdict.value for verdict in found.verdicts] == verdicts
    assert list(found.doubts) == doubts


def test_the_district_may_require_more_than_the_contract() -> None:
    """In office hours."""
    line = _down({"link": 0.005}, {"link": 0.005})
    assert _judged(line).verdict is LineVerdict.NOTHING
    assert _judged(line, required=0.999).grounds == (
        Ground(LineVerdict.NEED_NOT_MET, VerdictReason.DOWN, Condition.OFFICE_HOURS),
    )


@pytest.mark.parametrize(
    ("line", "need", "notes"),
    [
        (_way(3.9, delivered={"policed": True}), 3.0, [Note.POLICED]),
        (_down({}, nights=1), 3.0, [Note.HABIT]), (_down({}, shared=1), 3.0, [Note.SHARED]),
        (_down({"link": 0.02}, incident=0.51), 3.0, [Note.INCIDENT]),
        (_down({"link": 0.02}, incident=0.5), 3.0, []), (_down({}, incident=0.9), 3.0, []),
        (_lossy(night=DIRTY, worst_day=0.51), 3.0, [Note.INCIDENT]),
        (_lossy(night=DIRTY, worst_day=0.5), 3.0, []), (_lossy(worst_day=0.9), 3.0, []),
        (_down({}, {"power": 0.11}), 4.3, [Note.POWER_FIRST]), (_down({}, {"power": 0.1}), 4.3, []),
        (replace(LINE, calls_suffice=True), 4.3, [Note.CALLS_SUFFICE]),
        (replace(LINE, calls_suffice=True), 3.0, []),
        (_down({"power": 0.011}), 3.0, [Note.OFF_HOURS_ONLY]),
        (_down({"power": 0.011}, {"power": 0.011}), 3.0, []),
        (_down({"lan": 0.011}), 3.0, [Note.OFF_HOURS_ONLY]), (_down({"lan": 0.009}), 3.0, []),
    ],
)  # fmt: skip
def test_each_note_has_its_own_fact(line: Line, need: float, notes: list[Note]) -> None:
    """Each note from its own fact."""
    assert list(_judged(line, need).notes) == notes


def test_faults_come_in_the_order_of_their_weight() -> None:
    """Loss, repair, outages of power and LAN; with an upgrade, that first."""
    many = replace(_way(3.0), loss=LossRates(office=DIRTY, night=DIRTY),
                   outages=_down({}, {"power": 0.02, "lan": 0.02}).outages)  # fmt: skip
    assert [one.value for one in _judged(many).verdicts] == [
        "line_quality", "repair", "power", "lan",
    ]  # fmt: skip
    powerless = replace(many, down=WAY, loss=LINE.loss)
    assert [one.value for one in _judged(powerless, 4.3).verdicts] == ["upgrade", "power", "lan"]
    assert [one.value for one in _judged(powerless, 4.0).verdicts] == [
        "need_not_met", "power", "lan",
    ]  # fmt: skip


def test_the_verdict_holds_for_a_range_of_needs() -> None:
    """From the ends of what is delivered to 105 % of the contract."""
    upgrade, unmet, open_ = (_judged(LINE, need).holds for need in (4.3, 4.0, 3.9))
    assert upgrade == _range(4.2, None)
    assert unmet == _range(3.939, 4.2)
    assert open_ == _range(3.861, 3.939)
    assert _judged(_way(3.0)).holds is None
    assert _judged(_way(4.5), 4.8).holds == _range(4.2, None)


def test_the_need_follows_the_measured_traffic() -> None:
    """On ten days, with an upper bound; where the line was full for more than 5 %, at least."""
    policy = NeedPolicy(2, 1.5e6, 80e3, 0.15, 500e3, 10, 50e3, 100e3, 0.7)
    media = 2 * 1.58e6 * 1.15
    assert policy.need() == pytest.approx((media + 1.1e6) / 0.7)
    assert policy.assumed == 1.1e6

    def needs(other: Interval | None, full: float | None = None) -> Any:
        share = None if full is None else _around(full)
        return needs_of((other, None), (share, None), policy)

    for days, measured in ((10, True), (9, False)):
        found, assumed = needs(_around(1e6, days=days))
        assert found.measured is measured and not assumed.measured
    down, up = needs(_around(1e6))
    assert (down.low, down.value, down.high) == pytest.approx(
        tuple((media + rate) / 0.7 for rate in (0.99e6, 1e6, 1.01e6))
    )
    assert (up.low, up.value, up.high) == pytest.approx(((media + 1.1e6) / 0.7,) * 3)
    for share, least in ((0.05, False), (0.051, True)):
        assert needs(_around(1e6), share)[0].at_least is least
        assert (needs(_around(1e6), share)[0].high == float("inf")) is least
    vague = needs(Interval(1e6, 0.9e6, float("inf"), 300, 30))[0]
    assert vague.low == pytest.approx((media + 0.9e6) / 0.7) and vague.high == float("inf")
    assert not vague.at_least and vague.measured
    assert next_slab(4e6, (2e6, 4e6, 8e6)) == 4e6
