"""What a start and a report read grows neither with a year nor with the square of the offices."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import event

from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.outage_attribution import OutageAttribution
from jharnet_monitor.judge.outages.history import ANSWERING
from jharnet_monitor.judge.outages.shared import SharedFault, shared_faults
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.state_spans import spans
from tests.made_up import config
from tests.store_support import START, Bench

HOUR = timedelta(hours=1)
UP, DOWN = OfficeState.UP, OfficeState.UNREACHABLE


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty, migrated SQLite file."""
    bench = Bench(f"sqlite:///{tmp_path / 'monitor.db'}")
    yield bench
    bench.store.close()


def test_the_newest_state_of_a_steady_office_is_found(bench: Bench) -> None:
    """Also where other offices have had hundreds of states since; one without any has none."""
    log = bench.store.event_log
    log.add_transition("boram", UP, START, {})
    for hour in range(100):
        log.add_transition("potka", DOWN if hour % 2 else UP, START + hour * HOUR, {})
    found = log.last_transitions(["boram", "potka", "patamda"])
    assert {office: (one.state, one.at) for office, one in found.items()} == {
        "boram": (UP, START), "potka": (DOWN, START + 99 * HOUR),
    }  # fmt: skip


def test_states_are_read_back_to_the_last_answer(bench: Bench) -> None:
    """Those since a moment; of an office that has been dark for longer, all since it answered."""
    log, dark = bench.store.event_log, OfficeState.UPLINK_DOWN
    for hour, state in enumerate((UP, DOWN, UP, dark, DOWN)):
        log.add_transition("potka", state, START + hour * HOUR, {})
    log.add_transition("boram", DOWN, START, {})
    log.add_transition("boram", UP, START + HOUR, {})
    found = log.states_seen(["boram", "potka", "patamda"], START + 50 * HOUR, ANSWERING)
    assert found == {
        "boram": [(UP, START + HOUR)],
        "potka": [(UP, START + 2 * HOUR), (dark, START + 3 * HOUR), (DOWN, START + 4 * HOUR)],
    }
    since = log.states_seen(["boram"], START + HOUR / 2, ANSWERING)
    assert since == {"boram": [(UP, START + HOUR)]}


def test_a_state_of_many_offices_is_stored_once(bench: Bench) -> None:
    """A record that waited is written again after a crash; what is there is not doubled."""
    log, down = bench.store.event_log, OfficeState.MONITOR_DOWN
    for offices in (["boram", "potka"], ["boram", "potka", "patamda"]):
        log.add_missing_transitions(dict.fromkeys(offices, START), down, {"until": "x"})
    for office in ("boram", "potka", "patamda"):
        [only] = log.transitions(office)
        assert (only.state, only.at, only.evidence) == (down, START, {"until": "x"})


def test_the_start_reads_no_table_as_a_whole(bench: Bench) -> None:
    """Each query that a start makes for the states and events of offices is one by an index."""
    log, seen = bench.store.event_log, list[tuple[str, object]]()
    log.add_transition("potka", UP, START, {})

    def note(connection: object, cursor: object, statement: str, given: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, given))

    engine = log._engine
    event.listen(engine, "before_cursor_execute", note)
    log.states_seen(["potka"], START, ANSWERING)
    log.last_event_kinds(["potka"], ("joined", "left"), START)
    log.events_of_kind("update", ["potka", "boram"], START)
    event.remove(engine, "before_cursor_execute", note)
    assert len(seen) == 4
    with engine.connect() as connection:
        for statement, given in seen:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)  # type: ignore[arg-type]
            plan = "; ".join(row.detail for row in rows)
            assert "SCAN" not in plan, f"{plan}: {statement}"
            assert "_by_office" in plan or "_by_kind" in plan, f"{plan}: {statement}"


def test_what_was_recorded_of_an_outage_is_known_at_once(bench: Bench) -> None:
    """After a restart the cause is that of the records, before any measurement is read again."""
    log = bench.store.event_log
    log.add_transition("potka", UP, START, {})
    down = log.add_transition("potka", DOWN, START + HOUR, {})
    log.add_transition("potka", UP, START + 2 * HOUR, {})
    bench.clock.step(2 * 3600 + 60)
    attribution = OutageAttribution(CurrentConfig(config(5)), bench.clock, bench.store)
    unknown = attribution.recorded_outage("potka")
    assert (
        unknown is not None
        and unknown.cause is DOWN
        and attribution.recorded_outage("boram") is None
    )
    found_at = bench.clock.now()
    for cause in (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN):  # found out later, twice
        log.add_transition("potka", cause, START + HOUR, {"reason": None}, START + 2 * HOUR, down)
    bench.clock.step(600)
    past = attribution.recorded_outage("potka")
    assert past is not None
    assert (past.cause, past.began, past.ended, past.attributed_at) == (
        OfficeState.POWER_DOWN, START + HOUR, START + 2 * HOUR, found_at,
    )  # fmt: skip


def drawn(dice: random.Random) -> list[list[Span]]:
    """The states of a few offices, with edges that they share, or nearly."""
    states = (UP, DOWN, DOWN, OfficeState.POWER_DOWN, OfficeState.UPLINK_DOWN, OfficeState.UNKNOWN)
    shared = dice.sample(range(600), 6)
    offices = []
    for _ in range(dice.randint(1, 6)):
        edges = dice.sample(range(600), dice.randint(0, 5))
        edges = sorted([*edges, *(one + dice.choice((0, 0, 1)) for one in shared)])
        moments = [START + timedelta(seconds=30 * edge) for edge in edges]
        every = [Span(dice.choice(states), begin, end) for begin, end in pairwise(moments)]
        offices.append([span for span in every if dice.random() < 0.9])
    return offices


def count_at(offices: Sequence[Sequence[Span]], moment: datetime) -> tuple[int, int]:
    """How many offices are watched at a moment, and how many of them are dark, one by one."""
    blind = (OfficeState.UNKNOWN, OfficeState.MONITOR_DOWN, OfficeState.PLANNED)
    current = [span.state for one in offices for span in one if span.start <= moment < span.end]
    watched = [state for state in current if state not in blind]
    return len(watched), sum(state is not UP for state in watched)


def test_a_shared_fault_is_one_of_every_watched_office() -> None:
    """At each moment of it every watched office is dark, and just before it one was not, or most
    were not yet."""
    faults = list[SharedFault]()
    for seed in range(300):
        offices = drawn(random.Random(seed))
        edges = sorted({e for one in offices for span in one for e in (span.start, span.end)})
        for fault in shared_faults(offices):
            faults.append(fault)
            for moment in (one for one in edges if fault.start <= one < fault.end):
                watched, dark = count_at(offices, moment)
                assert watched == dark >= 3, seed
            watched, dark = count_at(offices, fault.end)
            assert dark < watched or watched < 3, seed
    assert len(faults) > 50


def test_shared_faults_of_264_offices_are_found_quickly() -> None:
    """Looking at every office at every edge took a second here, and minutes in a report."""
    edges = [[START + timedelta(seconds=3600 * n + office) for n in range(57)]
             for office in range(264)]  # fmt: skip
    offices = [
        [Span(DOWN if n % 2 else UP, *edge) for n, edge in enumerate(pairwise(one))]
        for one in edges
    ]
    began = time.process_time()
    shared_faults(offices)
    assert time.process_time() - began < 0.6


def test_the_states_of_a_year_are_corrected_quickly(bench: Bench) -> None:
    """Each correction touches its neighbours only: two thousand take no second."""
    log = bench.store.event_log
    log.add_transition("potka", UP, START, {})
    transitions = log.transitions("potka")
    [first] = transitions
    number = 1
    for hour in range(1, 2001):
        down = START + hour * HOUR
        for state, at, until in (
            (DOWN, down, None), (UP, down + HOUR / 2, None),
            (OfficeState.LINK_DOWN, down - HOUR / 60, down + HOUR / 2),
        ):  # fmt: skip
            number += 1
            supersedes = None if until is None else number - 2
            transitions.append(
                type(first)(number, "potka", state, at, until, {}, at, supersedes)
            )  # fmt: skip
    began = time.process_time()
    found = spans(transitions, START + 2002 * HOUR)
    assert time.process_time() - began < 1.0
    assert [span.state for span in found[:3]] == [UP, OfficeState.LINK_DOWN, UP]
    assert found[1].start == START + HOUR - HOUR / 60 and found[1].end == START + 1.5 * HOUR
    assert len(found) == 4001
