"""Outages: the state of now, and the cause afterwards.

The faults are simulated second by second with the hub's and the agent's habits
(`office_simulator`); the same over the lab's real links is `tests/faults/outages.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jharnet_monitor.judge.outages.availability import DOWN, account
from jharnet_monitor.judge.outages.causes import Boot, OutageContext, Reason, Stretch, attribute
from jharnet_monitor.judge.outages.observations import (
    AgentGone,
    AgentHeard,
    Fact,
    HubRan,
    Maintenance,
    Reached,
    RouterSaid,
)
from jharnet_monitor.judge.outages.state import AgentPresence, Evidence, live_state, uplink_works
from jharnet_monitor.judge.outages.timeline import Span, reconstruct, smooth
from jharnet_monitor.model import LIVE_STATES, OfficeState
from tests.office_simulator import START, Fault, Office, at, draw_faults

TOLERANCE = 10
"""Seconds around every change in which the judgement may still be the old one."""


# --- now ------------------------------------------------------------------------------------------

HEARD, SILENT, GOODBYE = AgentPresence.HEARD, AgentPresence.SILENT, AgentPresence.GOODBYE
NEVER, NONE = AgentPresence.NEVER, AgentPresence.NOT_EXPECTED


@pytest.mark.parametrize(
    ("state", "evidence"),
    [
        ("up", Evidence(router=True, pc=True, agent=HEARD)),
        ("up", Evidence(router=False, pc=False, agent=HEARD)),  # they only ignore echo requests
        ("up", Evidence(router=True, pc=True, agent=SILENT)),  # the agent died, the PC did not
        ("up", Evidence(router=True)),  # nothing else was ever promised
        ("up", Evidence(pc=True)),
        ("agent_off", Evidence(router=True, pc=False, agent=GOODBYE)),
        ("agent_off", Evidence(router=True, pc=True, agent=NEVER)),
        ("lan_down", Evidence(router=True, pc=False, agent=SILENT)),
        ("lan_down", Evidence(router=True, pc=False)),
        ("unreachable", Evidence(router=False, pc=False, agent=SILENT)),
        ("unreachable", Evidence(router=False, pc=False, agent=GOODBYE)),
        ("unreachable", Evidence(pc=False, agent=SILENT)),
        ("unknown", Evidence(pc=False, agent=GOODBYE)),  # switched off: says nothing of the line
        ("unknown", Evidence(router=None, pc=None, agent=SILENT)),
        ("uplink_down", Evidence(router=False, pc=False, agent=SILENT, uplink=False)),
        ("uplink_down", Evidence(router=None, uplink=False)),
        ("up", Evidence(router=True, pc=True, agent=HEARD, uplink=False)),
        ("monitor_down", Evidence(router=False, hub_healthy=False)),
        ("planned", Evidence(router=False, planned=True)),
    ],
)
def test_live_state_by_the_table(state: str, evidence: Evidence) -> None:
    """Every row of "States and causes"."""
    assert live_state(evidence).value == state


def test_live_state_is_never_a_cause() -> None:
    """Whatever the evidence: link or power is not claimed while it lasts."""
    tri = (True, False, None)
    for router in tri:
        for pc in tri:
            for agent in AgentPresence:
                for uplink in tri:
                    state = live_state(Evidence(router, pc, agent, uplink))
                    assert state in LIVE_STATES
                    if router is None and pc is None and agent is not HEARD:
                        assert state in (OfficeState.UNKNOWN, OfficeState.UPLINK_DOWN)


def test_an_office_that_answers_proves_the_uplink() -> None:
    """Whatever the gateway thinks of echo requests."""
    assert uplink_works(False, True) is True
    assert uplink_works(True, False) is True
    assert uplink_works(None, False) is None


# --- afterwards -----------------------------------------------------------------------------------


def minute(number: float) -> datetime:
    """A moment of one morning."""
    return datetime(2026, 11, 23, 4, 0, tzinfo=UTC) + timedelta(minutes=number)


def causes(known: OutageContext, begin: float = 10, end: float = 20) -> list[tuple[str, str]]:
    """State and reason of the parts of an outage from minute 10 to 20."""
    parts = attribute(minute(begin), minute(end), known)
    assert parts[0].start == minute(begin) and parts[-1].end == minute(end)
    assert all(one.end == other.start for one, other in pairwise(parts))
    return [(part.state.value, part.reason.value) for part in parts]


def ran(boot: str, begin: float, end: float, gateway: bool = True, ended: bool = False) -> Stretch:
    """The agent's own record from minute to minute."""
    return Stretch(boot, minute(begin), minute(end), gateway, ended)


def test_the_same_boot_means_the_line() -> None:
    """The PC was never without power; so says its id, and where that is unknown its uptime."""
    line = [("link_down", "same_boot")]
    assert causes(OutageContext("a", True, Boot("a", minute(-600)))) == line
    assert causes(OutageContext(None, True, Boot("a", minute(-600)))) == line
    assert causes(OutageContext("a", True, Boot("a", minute(19)))) == line, "the id beats the clock"


def test_a_new_boot_means_power() -> None:
    """The PC was there, did not say goodbye, and started anew when the office came back."""
    assert causes(OutageContext("a", True, Boot("b", minute(19.5)))) == [("power_down", "new_boot")]
    assert causes(OutageContext("a", True, Boot("b", minute(21)))) == [("power_down", "new_boot")]


def test_a_new_boot_proves_nothing_where_the_pc_was_off() -> None:
    """Switched off at closing time, or switched on long afterwards: nobody can tell."""
    told = [("unreachable", "no_witness")]
    assert causes(OutageContext("a", False, Boot("b", minute(19)))) == told
    assert causes(OutageContext("a", True, Boot("b", minute(900)))) == told
    stopped = ran("a", 8, 10, ended=True)
    assert causes(OutageContext("a", True, Boot("b", minute(19)), [stopped])) == told


def test_without_a_witness_it_stays_unreachable() -> None:
    """A browser, no agent, an agent that never came back."""
    assert causes(OutageContext()) == [("unreachable", "no_witness")]
    assert causes(OutageContext("a", True)) == [("unreachable", "no_witness")]


def test_an_agent_that_ran_on_means_the_line_while_it_ran() -> None:
    """Cut at 10, power gone at 15, back at 18, line back at 20: two causes, each in its time."""
    record = [ran("a", 9, 15), ran("b", 18.5, 20)]
    parts = attribute(
        minute(10), minute(20), OutageContext("a", True, Boot("b", minute(18)), record)
    )
    assert [(p.state.value, p.start, p.end) for p in parts] == [
        ("link_down", minute(10), minute(15)),
        ("power_down", minute(15), minute(18.5)),
        ("link_down", minute(18.5), minute(20)),
    ]


def test_a_silent_gateway_tells_of_the_office_not_of_the_line() -> None:
    """The PC ran on a battery while its router was dead: not the line's fault, not proven power."""
    record = [ran("a", 9, 21, gateway=False)]
    told = causes(OutageContext("a", True, Boot("a", minute(-600)), record))
    assert told == [("unreachable", "gateway_silent")]


def test_the_routers_uptime_decides_where_it_is_known() -> None:
    """A router that ran on means the line, one that started anew the power."""
    ran_on = OutageContext("a", True, Boot("b", minute(19)), router_start=minute(-6000))
    restarted = OutageContext("a", True, Boot("a", minute(-60)), router_start=minute(19))
    assert causes(ran_on) == [("link_down", Reason.ROUTER_RAN)]
    assert causes(restarted) == [("power_down", Reason.ROUTER_RESTARTED)]


def test_what_the_routers_uptime_does_not_decide() -> None:
    """A start after the outage tells nothing of it; and while an agent reached the router, it had
    power, whoever started it anew in between."""
    later = OutageContext("a", True, Boot("a", minute(-60)), router_start=minute(45))
    assert causes(later) == [("link_down", Reason.SAME_BOOT)]
    record = [ran("a", 9, 14), ran("a", 16, 21)]
    by_hand = OutageContext("a", True, Boot("a", minute(-60)), record, router_start=minute(15))
    assert [state for state, _ in causes(by_hand)] == ["link_down", "power_down", "link_down"]


@settings(deadline=None)  # others use this machine, too
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=6),
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.integers(-5, 45),
)
def test_parts_always_fill_the_outage(
    record: list[tuple[int, int, bool]], boot: str, present: bool, booted: int
) -> None:
    """Whatever the circumstances: in order, without gap or overlap, and only states that may be."""
    stretches = [ran("a", min(x, y), max(x, y), gateway) for x, y, gateway in record]
    told = OutageContext("a", present, Boot(boot, minute(booted)), stretches)
    for state, _ in causes(told):
        assert OfficeState(state) in DOWN


# --- the timeline ---------------------------------------------------------------------------------


def states(spans: Sequence[Span]) -> list[tuple[str, float, float]]:
    """State, begin and end in seconds of the simulation."""
    return [
        (s.state.value, (s.start - START).total_seconds(), (s.end - START).total_seconds())
        for s in spans
    ]


def test_a_pc_switched_off_at_closing_time_is_no_outage() -> None:
    """With a goodbye `agent_off`, without one `lan_down`; the line is up all night."""
    there: list[Fact] = [
        Reached(at(1), "router", True), Reached(at(1), "pc", True), AgentHeard(at(2), "a", 900.0)
    ]  # fmt: skip
    for goodbye, state in ((True, "agent_off"), (False, "lan_down")):
        off: list[Fact] = [AgentGone(at(100), goodbye), Reached(at(101), "pc", False)]
        on: list[Fact] = [Reached(at(900), "pc", True), AgentHeard(at(930), "b", 40.0)]
        spans = reconstruct([*there, *off, *on], [], at(0), at(1000))
        assert [name for name, _, _ in states(spans)] == ["unknown", "up", state, "up"]
        assert account(spans, at(60), at(1000)).availability == 1.0


def test_edges_of_an_outage_are_no_states_of_their_own() -> None:
    """The agent was last heard some seconds before the router fell silent: one outage."""
    facts: list[Fact] = [
        Reached(at(1), "router", True), AgentHeard(at(2), "a", 900.0),
        AgentGone(at(96), False), Reached(at(100), "router", False),
        Reached(at(200), "router", True), AgentHeard(at(203), "a", 1101.0),
    ]  # fmt: skip
    spans = reconstruct(facts, [], at(0), at(300))
    assert states(spans)[1:] == [("up", 1, 96), ("link_down", 96, 203), ("up", 203, 300)]


def test_a_planned_window_and_the_hubs_own_absence_are_neither_up_nor_down() -> None:
    """They stand in the account by their names, and the availability leaves them out."""
    facts: list[Fact] = [
        Reached(at(0), "router", True), AgentHeard(at(0), "a", 900.0),
        Maintenance(at(100), True), Reached(at(120), "router", False), AgentGone(at(120), False),
        Reached(at(180), "router", True), AgentHeard(at(180), "a", 1080.0),
        Maintenance(at(200), False), HubRan(at(300), False), HubRan(at(400), True),
        Reached(at(402), "router", True), AgentHeard(at(405), "a", 1305.0),
    ]  # fmt: skip
    spans = reconstruct(facts, [], at(0), at(500))
    got = account(spans, at(0), at(500))
    assert got.of(OfficeState.PLANNED) == timedelta(seconds=100)
    assert got.of(OfficeState.MONITOR_DOWN) == timedelta(seconds=100)
    assert got.down == timedelta(0) and got.availability == 1.0
    assert got.coverage is not None and 0.7 < got.coverage < 0.76


def test_routers_uptime_is_heard_after_the_outage() -> None:
    """SNMP says after the return that the router has been running for ten days."""
    facts: list[Fact] = [
        Reached(at(0), "router", True), Reached(at(100), "router", False),
        Reached(at(200), "router", True), RouterSaid(at(230), 864_000.0),
    ]  # fmt: skip
    spans = reconstruct(facts, [], at(0), at(300), NONE)
    assert states(spans) == [("up", 0, 100), ("link_down", 100, 200), ("up", 200, 300)]
    assert spans[1].reason is Reason.ROUTER_RAN


def test_smoothing_keeps_the_length() -> None:
    """Nothing is lost and nothing doubled when short stretches join a neighbour."""
    random = Random(3)
    edges = sorted(random.sample(range(1, 5000), 400))
    names = random.choices([OfficeState.UP, OfficeState.UNREACHABLE, OfficeState.LAN_DOWN], k=399)
    spans = [Span(n, at(a), at(b)) for n, (a, b) in zip(names, pairwise(edges), strict=True)]
    result = smooth(spans)
    assert result[0].start == spans[0].start and result[-1].end == spans[-1].end
    assert all(a.end == b.start and a.state is not b.state for a, b in pairwise(result))
    assert len(result) < len(spans)


# --- many faults ----------------------------------------------------------------------------------


def judged(office: Office) -> list[OfficeState]:
    """The final state at each second."""
    spans = reconstruct(office.facts, office.stretches, at(0), at(office.seconds))
    result: list[OfficeState] = []
    for span in spans:
        until = round((span.end - START).total_seconds())
        result += [span.state] * (until - len(result))
    return result


def near_a_change(truth: Sequence[object], before: int) -> set[int]:
    """The seconds around a change of the truth in which the judgement may be off."""
    edges = [n for n in range(1, len(truth)) if truth[n] != truth[n - 1]]
    return {n for edge in edges for n in range(edge - before, edge + TOLERANCE)}


@pytest.mark.parametrize("overlap", [False, True], ids=["single", "overlapping"])
def test_faults_get_their_cause(overlap: bool) -> None:
    """Over some 200 faults: live right within 10 s, final cause right in 98 %, start and end
    within 10 s, and never an outage where there was none."""
    score: Counter[str] = Counter()
    for seed in range(12):
        office = Office(draw_faults(Random(seed), 6000, 8, overlap), 6000).run()
        truth = [office.truth(second) for second in range(6000)]
        final, settled = judged(office), set(range(30, 6000)) - near_a_change(truth, TOLERANCE)
        for second in settled:
            assert final[second] not in DOWN or truth[second] & DOWN, (seed, second)
        for second in set(range(30, 6000)) - near_a_change(truth, 0):
            shown = office.live[second]
            right = {OfficeState.UNREACHABLE if s in DOWN else s for s in truth[second]}
            assert shown in right, (seed, second)
        for fault in office.faults:
            inside = settled & set(range(fault.begin, fault.end))
            if inside and fault.kind in ("link", "power"):
                score["faults"] += 1
                score["right"] += sum(final[s] in truth[s] for s in inside) > len(inside) / 2
    assert score["faults"] > 20
    assert score["right"] >= 0.98 * score["faults"], f"seeds 0-11: {score}"


def test_a_short_burst_is_no_outage() -> None:
    """A line that loses everything for three seconds is up in the account."""
    office = Office([Fault("burst", 100 * n, 100 * n + 3) for n in range(1, 30)], 3000).run()
    assert not set(judged(office)) & DOWN
