"""Live states from evidence as it comes in, on a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.state_tracker import StateTracker
from tests.support import make_config


class Bench:
    """One office and its evidence."""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 11, 25, tzinfo=UTC))
        self.current = CurrentConfig(make_config(("potka",)))
        self.states = StateTracker(self.current, self.clock, uplink_seen=True)
        self.seen = self.states.offices["potka"]

    def state(self, seconds: float = 0.0) -> str:
        """The state after some seconds."""
        self.clock._pass(seconds)
        list(self.states.changes())
        return self.states._states["potka"].value

    def router(self, answers: bool) -> None:
        """The router began or ceased to answer."""
        self.seen.router, self.seen.router_since = answers, self.clock.monotonic()


def test_a_cut_and_its_end() -> None:
    """Nothing answers: unreachable; the router is back before the PC: not yet a LAN fault."""
    bench = Bench()
    bench.router(True)
    bench.seen.pc = True
    assert bench.state(10) == "up"
    bench.router(False)
    bench.seen.pc = False
    assert bench.state(1) == "unreachable"
    bench.router(True)
    assert bench.state(1) == "unreachable"
    bench.seen.pc = True
    assert bench.state(1) == "up"


def test_a_lan_fault_is_told_at_once_when_the_router_stood_all_along() -> None:
    """Router answers, PC does not any more: LAN down; and later after a router's return."""
    bench = Bench()
    bench.router(True)
    bench.seen.pc = True
    assert bench.state(60) == "up"
    bench.seen.pc = False
    assert bench.state(1) == "lan_down"
    bench.router(False)
    assert bench.state(1) == "unreachable"
    bench.router(True)
    assert bench.state(9) == "lan_down"


def test_an_agent_whose_line_is_dead_is_not_heard_for_long() -> None:
    """The session stands, but its last word is six seconds old: that proves nothing."""
    bench = Bench()
    bench.seen.ever = True
    bench.seen.heard_at = bench.clock.monotonic()
    bench.router(False)
    bench.seen.pc = False
    assert bench.state(3) == "up"
    assert bench.state(3) == "unreachable"


def test_an_agent_that_came_back_is_awaited_no_longer() -> None:
    """Just after the start an absent agent is awaited; one that came and fell silent is not."""
    config = make_config(("potka",))
    agent = config.offices[0].model_copy(update={"agent": object()})
    for back, state in ((False, "unknown"), (True, "lan_down")):
        bench = Bench()
        bench.current.replace(config.model_copy(update={"offices": (agent,)}))
        bench.router(True)
        bench.seen.pc = False
        bench.seen.ever, bench.seen.back = True, back
        assert bench.state(10) == state


def test_the_uplink_takes_the_blame_alone() -> None:
    """When the gateway is silent with everything else, no office is called unreachable."""
    bench = Bench()
    bench.router(False)
    bench.seen.pc = False
    bench.states.uplink_seen = False
    assert bench.state(1) == "uplink_down"
    bench.states.planned = frozenset({"potka"})
    assert bench.state(1) == "planned"
