"""A test is repeated only while this machine was too busy for what it holds."""

from __future__ import annotations

import pytest

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from tests.busy_host import REPETITIONS, repeats


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
