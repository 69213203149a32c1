"""A test is repeated only while this machine was too busy for what it holds."""

from __future__ import annotations

from typing import Any

import pytest

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from tests import busy_host
from tests.busy_host import REPETITIONS, repeats, undisturbed


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is busy here."""
    monkeypatch.setattr(busy_host, "WAITS", (0.0,) * REPETITIONS)


@pytest.mark.parametrize(
    ("cause", "good_at", "runs", "fails"),
    [
        (Cause.HOST_OVERLOADED, 3, 3, False),
        (Cause.HOST_OVERLOADED, 99, REPETITIONS + 1, True),
        (Cause.AGENT_LOST, 2, 1, True),
    ],
)
async def test_only_a_busy_machine_repeats_a_test(
    cause: Cause, good_at: int, runs: int, fails: bool
) -> None:
    """It is repeated until it passes, a few times at most, and not at all for another cause."""
    done = 0

    @repeats
    async def holds_a_drill() -> None:
        nonlocal done
        done += 1
        NoData(cause, "a call of the drill")
        assert done >= good_at

    if fails:
        with pytest.raises(AssertionError):
            await holds_a_drill()
    else:
        await holds_a_drill()
    assert done == runs


@pytest.mark.parametrize(
    ("first", "runs"),
    [
        ({"cause": None, "conditions": {}}, 1),
        ({"cause": "agent_lost", "conditions": {}}, 1),
        ({"cause": "host_overloaded", "conditions": {}}, 2),
        ({"cause": None, "conditions": {"hub_loop_lag_median_seconds": 0.004}}, 2),
        ({"cause": None, "conditions": {"upload_stalled_ratio": 0.1}}, 2),
        ({"cause": None, "conditions": {"upload_stalled_ratio": 0.04}}, 1),
        ({"cause": None, "conditions": {"under_load": True}}, 2),
    ],
)
async def test_only_a_disturbed_measurement_is_repeated(first: dict[str, Any], runs: int) -> None:
    """By a busy machine, or by another test on the line; and the next one is taken."""
    good: dict[str, Any] = {"cause": None, "conditions": {}}
    results = [first, good]

    async def measure() -> dict[str, Any]:
        return results.pop(0)

    assert await undisturbed(measure) == (first if runs == 1 else good)
    assert len(results) == 2 - runs
