"""Planned maintenance counts only from its announcement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.commands import maintenance
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub.outage_attribution import OutageAttribution
from jharnet_monitor.model import OfficeState
from jharnet_monitor.store import Window
from tests.store_support import START, Bench
from tests.support import make_config

OFFICE = "potka"


def minute(number: float) -> datetime:
    """A time on one morning; the outage lasts from minute 60 to 120."""
    return START + timedelta(minutes=number)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A store with an outage of an hour, during which the agent's PC kept running."""
    bench = Bench(f"sqlite:///{tmp_path}/monitor.db")
    event_log = bench.store.event_log
    for number, up in ((0, True), (60, False), (120, True)):
        state = OfficeState.UP if up else OfficeState.UNREACHABLE
        event_log.add_transition(OFFICE, state, minute(number), {})
        for role in ("router", "pc"):
            event_log.add_event(OFFICE, "reached", minute(number), {"role": role, "answers": up})
        heard = {"kind": "program", "boot_id": "b", "uptime": 60.0 * number + 900}
        event_log.add_event(OFFICE, "joined" if up else "left", minute(number), heard if up else {})
    yield bench
    bench.store.close()


def attributed(
    bench: Bench, *windows: tuple[float, float, float]
) -> list[tuple[str, float, float]]:
    """The attribution of the outage, with windows (announced at, from, to) in minutes."""
    for announced, begin, end in windows:
        bench.clock.step((minute(announced) - bench.clock.now()).total_seconds())
        window = Window(OFFICE, minute(begin), minute(end), "new mast")
        bench.store.event_log.add_window(window)
    bench.clock.step((minute(130) - bench.clock.now()).total_seconds())
    OutageAttribution(CurrentConfig(make_config()), bench.clock, bench.store).review(OFFICE)
    every = bench.store.event_log.transitions(OFFICE, minute(0))
    return [
        (t.state.value, (t.at - START) / timedelta(minutes=1), (t.until - START).seconds / 60)
        for t in every
        if t.supersedes is not None and t.until is not None
    ]


def test_an_outage_in_an_announced_window_is_planned(bench: Bench) -> None:
    """A window announced before the outage covers all of it."""
    assert attributed(bench, (30, 55, 125)) == []


def test_a_window_does_not_end_while_another_goes_on(bench: Bench) -> None:
    """A shorter window within the first one does not end it."""
    assert attributed(bench, (30, 55, 125), (30, 65, 80)) == []


def test_a_window_announced_after_the_outage_changes_nothing(bench: Bench) -> None:
    """A back-dated window does not make an outage planned."""
    assert attributed(bench, (125, 50, 126)) == [("link_down", 60, 120)]
    assert attributed(bench, (128, 50, 120)) == [("link_down", 60, 120)]


def test_a_window_counts_from_its_announcement(bench: Bench) -> None:
    """The part of the outage before the announcement is not planned."""
    assert attributed(bench, (90, 50, 125)) == [("link_down", 60, 90)]


@pytest.mark.parametrize(
    ("begin", "end", "says"),
    [
        ("2020-01-02T10:00", "2020-01-02T12:00", "--to 2020-01-02T12:00 is in the past"),
        ("2099-01-02T12:00", "2099-01-02T10:00", "must be before --to 2099-01-02T10:00"),
    ],
)
def test_the_command_checks_its_arguments_before_it_calls_the_hub(
    monkeypatch: pytest.MonkeyPatch, begin: str, end: str, says: str
) -> None:
    """Wrong arguments are refused even if no hub runs."""
    monkeypatch.setattr(maintenance, "load_config", lambda path: make_config())
    with pytest.raises(UserError, match=says):
        maintenance.maintenance(OFFICE, begin, end)
    with pytest.raises(UserError, match="no office `nowhere`"):
        maintenance.maintenance("nowhere", "2099-01-02T10:00", "2099-01-02T12:00")


def test_a_withdrawn_window_excuses_nothing_from_then_on(bench: Bench) -> None:
    """It excuses what came before its withdrawal; the rest of the outage is the line's."""
    bench.clock.step((minute(50) - bench.clock.now()).total_seconds())
    log = bench.store.event_log
    number = log.add_window(Window(OFFICE, minute(55), minute(200), "a cable"))
    [window] = log.windows(minute(60), minute(70), OFFICE)
    assert (window.number, window.withdrawn) == (number, None)
    log.withdraw_window(window, minute(80))
    bench.clock.step((minute(125) - bench.clock.now()).total_seconds())
    assert [one.counts_until for one in log.windows(minute(60), minute(70))] == [minute(80)]
    assert log.windows(minute(80), minute(200)) == []
    assert [one.withdrawn for one in log.announced_windows(minute(80), minute(90))] == [minute(80)]
    current = CurrentConfig(make_config())
    OutageAttribution(current, bench.clock, bench.store).review(OFFICE)
    corrected = [t for t in log.transitions(OFFICE) if t.supersedes is not None]
    assert [(t.state.value, t.at, t.until) for t in corrected] == [
        ("link_down", minute(80), minute(120))
    ]


def test_one_that_never_began_excuses_nothing(bench: Bench) -> None:
    """Withdrawn before it begins, it is as if it had not been announced."""
    bench.clock.step((minute(50) - bench.clock.now()).total_seconds())
    log = bench.store.event_log
    log.add_window(Window(None, minute(55), minute(200), ""))
    [window] = log.windows(minute(56), minute(57))
    log.withdraw_window(window, minute(52))
    assert log.windows(minute(0), minute(300)) == []
