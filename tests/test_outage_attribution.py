"""The review of outages that are over: what it records, and since when a cause is known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.outage_attribution import OutageAttribution
from jharnet_monitor.live import PastOutage
from jharnet_monitor.model import Measurement, OfficeState, Outcome, Route
from tests.store_support import START, Bench
from tests.support import make_config

YEARS = timedelta(days=3433).total_seconds()


class Watched:
    """An office whose changes a hub records, and the reviews of its outages."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.clock = bench.clock
        self.log = bench.store.event_log
        self.reviews = OutageAttribution(CurrentConfig(make_config()), bench.clock, bench.store)

    def go_to(self, minutes: float) -> None:
        """Set the clock to a moment after the start."""
        self.clock.step((minute(minutes) - self.clock.now()).total_seconds())

    def change(self, up: bool) -> None:
        """Record that the office answers, or no longer does; its PC runs on all the time."""
        now = self.clock.now()
        self.log.add_transition("potka", OfficeState.UP if up else OfficeState.UNREACHABLE, now, {})
        for role in ("router", "pc"):
            self.log.add_event("potka", "reached", now, {"role": role, "answers": up})
        uptime = (now - START).total_seconds() + 86400.0
        vitals = {"kind": "program", "boot_id": "b", "uptime": uptime}
        self.log.add_event("potka", "joined" if up else "left", now, vitals if up else {})

    def outage(self, begin: float, end: float) -> None:
        """Record an outage."""
        for moment, up in ((begin, False), (end, True)):
            self.go_to(moment)
            self.change(up)

    def silent_gateway(self, begin: int, end: int) -> None:
        """Store what the agent recorded meanwhile: its own gateway did not answer."""
        self.bench.store.add(
            [
                Measurement(
                    "potka", "latency", minute(n), 60.0, Outcome.FAILED, "no_reply",
                    {"path": Route.AGENT_GATEWAY, "boot_id": "b", "uptime_seconds": 60.0 * n},
                    {"sent": 60.0, "received": 0.0, "loss_ratio": 1.0}, f"m{n}",
                )
                for n in range(begin, end)
            ]
        )  # fmt: skip

    def review(self) -> PastOutage:
        """Review; a hub that starts then reads the same of the last outage."""
        past = self.reviews.review("potka")
        assert past is not None
        assert self.reviews.recorded_outage("potka") == past
        return past

    def recorded(self) -> list[OfficeState]:
        """The findings in the log, in order."""
        every = self.log.transitions("potka", minute(0))
        found = sorted((t for t in every if t.supersedes is not None), key=lambda t: t.number)
        return [one.state for one in found]


def minute(number: float) -> datetime:
    """A moment after the start."""
    return START + timedelta(minutes=number)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """An office that is up from the start."""
    bench = Bench(f"sqlite:///{tmp_path / 'monitor.db'}")
    one = Watched(bench)
    one.change(True)
    yield one
    bench.store.close()


def test_a_finding_is_recorded_once(watched: Watched) -> None:
    """Once a known cause had become unknown again, every review recorded that."""
    watched.outage(60, 70)
    watched.go_to(70.05)
    assert watched.review().cause is OfficeState.LINK_DOWN
    watched.silent_gateway(60, 70)
    for number in range(10):
        watched.go_to(70.1 + number)
        assert watched.review().cause is OfficeState.UNREACHABLE
    assert watched.recorded() == [OfficeState.LINK_DOWN, OfficeState.UNREACHABLE]


def test_a_cause_is_known_since_its_own_review(watched: Watched) -> None:
    """The second outage counted as attributed when the first one was, a day before."""
    watched.outage(60, 70)
    watched.go_to(70.05)
    first = watched.review()
    assert first.attributed_at == minute(70.05)
    watched.outage(1500, 1510)
    watched.go_to(1510.05)
    second = watched.review()
    assert (second.began, second.attributed_at) == (minute(1500), minute(1510.05))
    watched.go_to(1510.75)
    assert watched.review() == second
    assert watched.recorded() == [OfficeState.LINK_DOWN] * 2


def test_an_outage_that_goes_on_is_not_over_in_the_future(watched: Watched) -> None:
    """The hub's clock was in 2036 for a minute: a later outage counted as over until then."""
    watched.clock.step(YEARS)
    watched.change(False)
    watched.clock.step(60)
    watched.change(True)
    watched.go_to(5)
    watched.change(True)
    watched.go_to(60)
    watched.change(False)
    watched.go_to(65)
    assert watched.reviews.recorded_outage("potka") is None
    assert watched.reviews.review("potka") is None
    watched.go_to(70)
    watched.change(True)
    past = watched.review()
    assert (past.began, past.ended) == (minute(60), minute(70))


def test_what_answered_is_known_however_often_the_agent_connected(watched: Watched) -> None:
    """The event that says that the router answers is older than 60 of the agent. The PC is shut
    down, the line fails hours later, and the next start of the PC is not the end of a power cut."""

    def agent(kind: str, boot: str = "b") -> None:
        vitals = {"kind": "program", "boot_id": boot, "uptime": 30.0}
        watched.log.add_event("potka", kind, watched.clock.now(), vitals)

    def answers(state: OfficeState, **roles: bool) -> None:
        watched.log.add_transition("potka", state, watched.clock.now(), {})
        for role, answers in roles.items():
            fact = {"role": role, "answers": answers}
            watched.log.add_event("potka", "reached", watched.clock.now(), fact)

    for number in range(40):
        watched.go_to(1 + number)
        agent("left")
        agent("joined")
    for minutes, answering in ((50, False), (51, True)):
        watched.go_to(minutes)
        answers(OfficeState.UP, pc=answering)
    watched.go_to(60)
    agent("goodbye")
    answers(OfficeState.AGENT_OFF, pc=False)
    watched.go_to(800)
    answers(OfficeState.UNREACHABLE, router=False)
    watched.go_to(820)
    answers(OfficeState.UP, router=True)
    agent("joined", "c")
    watched.go_to(821)
    assert watched.review().cause is OfficeState.UNREACHABLE
