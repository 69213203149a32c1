"""The configuration by which a report of a past period is judged, and readings that must not be
over-interpreted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.judge.conference.video import detect_freezes
from jharnet_monitor.judge.latency import jitter
from jharnet_monitor.judge.line.contract import (
    falls_short,
    lasting_rate,
    lasting_tests,
    rate_is_open,
)
from jharnet_monitor.model import Direction, OfficeState
from jharnet_monitor.report.data.history import history
from jharnet_monitor.report.data.in_force import SealedContracts, in_force
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.store import Store, Transition
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS
from tests import made_up
from tests.made_up_week import WEEK

OFFICE = made_up.config(2).offices[0].id


def test_a_past_week_is_held_against_the_contract_of_then(tmp_path: Path) -> None:
    """Sealed settings up to the week's end count; an event that nothing changed refers back."""
    store = Store(f"sqlite:///{tmp_path / 'then.db'}", ManualClock(WEEK.end))
    store.migrate()
    now = made_up.config(3)
    assert in_force(store, now, WEEK.end) == now
    first, *others = now.offices
    assert first.link is not None
    raised = first.link.model_copy(update={"contracted": 10e6})
    later = now.model_copy(update={"offices": (first.model_copy(update={"link": raised}), *others)})
    events = (
        (WEEK.start, settings_record(made_up.config(2))),
        (WEEK.start + timedelta(days=1), {"sha256": "0" * 64}),
        (WEEK.end + timedelta(hours=1), settings_record(later)),
    )
    for at, data in events:
        store.event_log.add_event(OF_THE_DATABASE, SETTINGS, at, data)
    then = in_force(store, later, WEEK.end)
    assert [office.id for office in then.offices] == [one.id for one in now.offices[:2]]
    assert then.offices[0].link == first.link and then.offices[0].agent == first.agent
    assert then.report == later.report
    whole = in_force(store, now, WEEK.end + timedelta(days=1))
    assert whole.offices[0].link == raised and len(whole.offices) == 3
    store.close()


def _transition(number: int, state: OfficeState, at: datetime) -> Transition:
    return Transition(number, OFFICE, state, at, None, {}, at)


def test_a_clock_set_back_makes_no_outage_longer() -> None:
    """Half an hour without the line, in which the clock is set back by an hour, is not 70 min."""
    begin = WEEK.start
    observations = [
        _transition(1, OfficeState.UP, begin),
        _transition(2, OfficeState.LINK_DOWN, begin + timedelta(hours=5)),
        _transition(3, OfficeState.UP, begin + timedelta(hours=4, minutes=30)),
        _transition(4, OfficeState.LINK_DOWN, begin + timedelta(hours=9)),
    ]
    found = spans(observations, begin + timedelta(hours=10))
    down = [one.end - one.start for one in found if one.state is OfficeState.LINK_DOWN]
    assert down == [timedelta(hours=1)]
    assert found[0].start == begin and found[-1].end == begin + timedelta(hours=10)


def test_what_lasts_is_held_against_the_contract() -> None:
    """A bucket of 5 Mbit/s before 3 keeps no contract of 4; a sustained rate without a policer
    leaves the other tests as they are.
    """
    link = made_up.config(2).offices[0].link
    short = made_up.bandwidth(OFFICE, WEEK.start, 5e6, 5e6)
    values = {**short.values, "download_sustained_bits_per_second": 3e6}
    policed = replace(short, values=values, conditions={
        "path": "jharnet", "download_at_least": True, "limited_by": "policer",
    })  # fmt: skip
    assert lasting_rate(policed, Direction.DOWN) == 3e6
    assert lasting_rate(policed, Direction.UP) == 5e6
    assert falls_short(policed, link, 0.8) and not falls_short(short, link, 0.8)
    assert lasting_tests([short, policed], Direction.DOWN) == [policed]
    assert lasting_tests([short, policed], Direction.UP) == [short, policed]
    steady = replace(policed, conditions={"path": "jharnet"})
    assert lasting_tests([short, steady], Direction.DOWN) == [short, steady]


def test_jitter_does_not_depend_on_how_many_replies_there_were() -> None:
    """RFC 3550's J starts from 0; the estimate corrects that bias."""
    rng = np.random.default_rng(1)
    means = [
        np.mean([jitter((0.04 + 0.01 * rng.random(count)).tolist()) for _ in range(400)])
        for count in (5, 20, 200)
    ]
    assert means == pytest.approx([0.01 / 3] * 3, rel=0.06)


def test_a_picture_that_comes_late_was_frozen_until_then() -> None:
    """No picture for 8 of 30 seconds counts as a freeze; a usual start does not."""
    frames = [8 + 0.033 * n for n in range(667)]
    late = detect_freezes(frames, 0.0, 30.0)
    assert late.count == 1 and late.seconds == pytest.approx(8, abs=0.1)
    assert detect_freezes([0.3 + 0.033 * n for n in range(900)], 0.0, 30.0).count == 0


def test_a_computer_that_limits_one_direction_leaves_the_other_as_it_is() -> None:
    """Its rate is a lower bound, which a repetition may exceed; the other direction is judged."""
    link = made_up.config(2).offices[0].link
    test = replace(made_up.bandwidth(OFFICE, WEEK.start, 3e6, 3.9e6), conditions={
        "path": "jharnet", "limited_by": "host", "download_limited_by": "host",
    })  # fmt: skip
    assert [rate_is_open(test, way) for way in Direction] == [True, False]
    assert falls_short(test, link, 0.8)
    earlier = replace(test, conditions={"path": "jharnet", "limited_by": "host"})
    assert all(rate_is_open(earlier, way) for way in Direction)


def test_the_trend_leaves_out_what_the_offices_computer_limited(tmp_path: Path) -> None:
    """The speed of an earlier week rests on the tests on which that of the week itself rests."""
    store = Store(f"sqlite:///{tmp_path / 'trend.db'}", ManualClock(WEEK.start))
    store.migrate()
    before, config = WEEK.before(), made_up.config(2)
    for day in range(6):
        for hour, conditions in enumerate(
            ({}, {"limited_by": "host"}, {"limited_by": "host", "download_limited_by": "host"},
             {"limited_by": "host", "upload_limited_by": "host"})
        ):  # fmt: skip
            at = before.start + timedelta(days=day, hours=hour)
            rate = 1e6 if conditions and "upload_limited_by" not in conditions else 4e6
            test = made_up.bandwidth(OFFICE, at, rate, 3e6)
            store.add([replace(test, conditions={**test.conditions, **conditions})])
    [point] = history(store, config, config.offices[0], [before], [[]], SealedContracts())
    store.close()
    assert (point.down.median, point.down.tests) == (4e6, 12)


def test_the_trend_shows_what_a_policed_line_sustains(tmp_path: Path) -> None:
    """A week in which a test met a policer rests on sustained rates, one before on every test."""
    store = Store(f"sqlite:///{tmp_path / 'policed.db'}", ManualClock(WEEK.start))
    store.migrate()
    before, config = WEEK.before(), made_up.config(2)
    for day in range(14):
        at = before.before().start + timedelta(days=day, hours=1)
        short = made_up.bandwidth(OFFICE, at, 5e6, 5e6)
        store.add([short])
        if day >= 7:
            conditions = {**short.conditions, "download_limited_by": "policer"}
            values = {**short.values, "download_sustained_bits_per_second": 3e6}
            later = at + timedelta(hours=2)
            store.add([replace(short, id=f"long-{day}", started_at=later, values=values,
                               conditions=conditions)])  # fmt: skip
    weeks = [before.before(), before]
    points = history(store, config, config.offices[0], weeks, [[], []], SealedContracts())
    assert [(one.down.median, one.down.tests, one.down.below) for one in points] == [
        (5e6, 7, 0), (3e6, 7, 7)
    ]  # fmt: skip
    store.close()


def test_the_contract_of_a_moment_and_its_last_change(tmp_path: Path) -> None:
    """A contract that was told later is no change, nor are other settings; the configuration's
    stands where none was sealed.
    """
    store = Store(f"sqlite:///{tmp_path / 'contracts.db'}", ManualClock(WEEK.end))
    store.migrate()
    config = made_up.config(2)
    office = config.offices[0]
    assert office.link is not None
    days = [WEEK.start + timedelta(days=n) for n in range(7)]
    for at, rate in zip(days, (None, 2e6, 2e6, 8e6, None, 8e6), strict=False):
        link = None if rate is None else office.link.model_copy(update={"contracted": rate})
        offices = (office.model_copy(update={"link": link}), config.offices[1])
        record = settings_record(config.model_copy(update={"offices": offices}))
        store.event_log.add_event(OF_THE_DATABASE, SETTINGS, at, record)
    contracts = SealedContracts.read(store)
    store.close()
    found = [contracts.link(office, day) for day in days]
    assert [link and link.contracted for link in found] == [2e6] * 3 + [8e6] * 4
    assert contracts.link(made_up.config(3).offices[2], days[0]) == office.link
    assert [contracts.changed(office, day) for day in days] == [None] * 3 + [days[3]] * 4
    assert contracts.changed(config.offices[1], days[6]) is None
