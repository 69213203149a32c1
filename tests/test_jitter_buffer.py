"""The buffer from which a client plays the voice: what it conceals of lost and of late packets.

The figures for a real Chromium are those of `tests/bench/late_voice.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jharnet_monitor.judge.conference.jitter_buffer import JitterBuffer

EVEN: list[float | None] = [0.05] * 200


def concealed(transits: Sequence[float | None]) -> float:
    """Seconds, of packets that leave every 20 ms and take so long, None if they are lost."""
    buffer = JitterBuffer()
    return sum(
        buffer.add(number / 50, None if transit is None else number / 50 + transit)
        for number, transit in enumerate(transits)
    )


def pause(seconds: float) -> list[float | None]:
    """Nothing passes for so long: each packet waits for the end of it."""
    packets = round(seconds * 50)
    return [0.05 + seconds - number / 50 for number in range(packets)]


@pytest.mark.parametrize(("gap", "seconds"), [(1, 0.0144), (2, 0.0344), (5, 0.0944)])
def test_a_gap_is_concealed_but_for_the_stretched_part(gap: int, seconds: float) -> None:
    """72 % of the first lost packet, all of the next ones."""
    assert concealed([*EVEN, *[None] * gap, *EVEN]) == pytest.approx(seconds)


def test_a_pause_is_concealed_once() -> None:
    """Of a pause of 0.4 s, what the buffer of 40 ms does not hold. Thereafter the buffer holds the
    next ones."""
    once = concealed([*EVEN, *pause(0.4), *EVEN])
    assert once == pytest.approx(0.36, abs=0.01)
    every = [*EVEN, *pause(0.4), *EVEN, *pause(0.4), *EVEN, *pause(0.4), *EVEN]
    assert concealed(every) == pytest.approx(once, abs=0.005)


def test_a_filling_queue_is_concealed_by_its_growth_only() -> None:
    """From 0.05 to 0.35 s within a second: all its packets are later than the one before, 0.26 s
    are missing. They counted as 49 packets that came too late, 0.98 s."""
    rising: list[float | None] = [0.05 + 0.3 * number / 50 for number in range(51)]
    assert 0.1 < concealed([*EVEN, *rising, *[0.35] * 100]) < 0.27


def test_small_jitter_is_not_heard() -> None:
    """Up to 20 ms, in any order, once the buffer has filled."""
    jitter = [0.05 + 0.02 * (number * 7 % 11) / 10 for number in range(1000)]
    assert concealed([*EVEN, *jitter]) == 0.0


def test_the_delay_comes_down_again() -> None:
    """Half a minute after a queue of 0.3 s the buffer is short again."""
    buffer = JitterBuffer()
    highest = 0.0
    for number in range(4000):
        transit = 0.35 if 500 <= number < 600 else 0.05
        buffer.add(number / 50, number / 50 + transit)
        highest = max(highest, buffer.delay)
    assert highest > 0.25 and buffer.delay < 0.1
