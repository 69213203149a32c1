"""One line, met by a page in a browser and by an agent: one line model, and one answer of the twin.

The agent's call sends a fixed rung, which overloads a narrow line; the browser's call adapts and
fills it as far as its congestion control allows. Packets go through the lab's own pipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.call import simulate_each
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.predict import count
from jharnet_monitor.judge.twin.trace import PacketColumns
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.conference.twin import line_of_call
from jharnet_monitor.profiles import RUNGS, rung
from jharnet_monitor.rtc.stats.call_stats import ReceiveStats, SendStats
from tests.test_receive import received, send_stats

SECONDS = 20.0
AUDIO = 56e3
"""bit/s on the line."""
PACKET = 1100
ROUND_TRIP = 0.06
OVERLOADED = 6.0
"""Seconds until a call steps down."""
RUNS = 8


def streams(steps: Sequence[tuple[float, float]]) -> list[tuple[float, int, float, bool]]:
    """Time, size, number of the frame, and whether it is video, of each packet.

    `steps` are seconds and the bit/s of video in them, one after the other.
    """
    packets = [(n / 50, int(AUDIO / 50 / 8), float(n), False) for n in range(int(SECONDS * 50))]
    start, frame, owed = 0.0, 0, 0.0
    for seconds, video in steps:
        for number in range(int(seconds * 30)):
            owed += video / 30 / 8 / PACKET
            packets += [(start + number / 30, PACKET, float(frame), True)] * int(owed)
            owed, frame = owed % 1, frame + 1
        start += seconds
    return sorted(packets)


def through(settings: dict[str, str], *steps: tuple[float, float]) -> tuple[ObservedLine, float]:
    """What the receiver observes of a line on which this is sent, and the bit/s that arrived."""
    pipe = Pipe("p", LinkDirection.model_validate(settings), 1)
    rows = []
    for at, size, frame, is_video in streams(steps):
        due = pipe.admit(100.0 + at, size)
        rows.append((at, due if due >= 0 else np.nan, size, frame, is_video))
    columns = np.array(rows, float)
    nothing = np.zeros(0)
    kinds = []
    for kind in (0, 1):
        sent, at, size, frame = columns[columns[:, 4] == kind].T[:4]
        kinds.append(PacketColumns(sent, at, size, frame, nothing, nothing))
    found = observe(kinds[0], kinds[1])
    assert found is not None
    arrived = columns[~np.isnan(columns[:, 1])]
    return found, float(arrived[:, 2].sum() * 8 / SECONDS)


def stats(
    seen: ObservedLine | None, arrived: float, **sent: object
) -> tuple[SendStats, ReceiveStats]:
    """What both ends report of one direction; in the judged window nothing was lost."""
    sending = send_stats(round_trip_p50=ROUND_TRIP, **sent)
    return sending, replace(received(sending), line=seen, bits_per_second=arrived)


def ladder(rate: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The rungs of a call: 720p for some seconds, then the best that the line carries."""
    below = max(rung.video for rung in RUNGS if rung.line_rate <= rate)
    return (OVERLOADED, rung("720p").video), (SECONDS - OVERLOADED, below)


def by_agent(settings: dict[str, str], rate: float) -> LineModel:
    """The line of an agent's call, whose rung overloads it in both directions."""
    seen, arrived = through(settings, *ladder(rate))
    sent, got = stats(seen, arrived, capacity=seen.rate, stepped_down=True)
    found = line_of_call(sent, sent, got, got)
    assert found is not None and found.met == {Direction.DOWN, Direction.UP}
    return found.line


def by_browser(settings: dict[str, str], rate: float, adapted: float) -> LineModel:
    """The line of a page's call: the hub's rung overloads it towards the office, whose browser
    reports counts only; the browser itself fills the share `adapted` of the line."""
    overloaded, arrived = through(settings, *ladder(rate))
    hub_sent, down = stats(None, arrived, capacity=overloaded.rate, stepped_down=True)
    seen, arrived = through(settings, (SECONDS, adapted * rate - AUDIO))
    office_sent, up = stats(seen, arrived, adapts=True)
    found = line_of_call(hub_sent, office_sent, down, up)
    # What an adapting browser uses of a line is a guess of its rate, and no bottleneck that it met.
    assert found is not None and found.met == {Direction.DOWN}
    return found.line


@pytest.mark.parametrize(("rate", "adapted"), [(0.3e6, 0.85), (1e6, 0.85), (1e6, 0.93)])
def test_page_and_agent_get_one_line_and_one_answer(rate: float, adapted: float) -> None:
    """On 0.3 and 1 Mbit/s both ways with 60 ms: rate, delay and loss of the models agree with
    the line and with each other, and the twin finds the same grade on both."""
    settings = {"rate": f"{rate / 1e6} Mbit/s", "queue": "200ms", "delay": "30ms"}
    lines = by_agent(settings, rate), by_browser(settings, rate, adapted)
    for line in lines:
        for way in (line.down, line.up):
            assert way.rate == pytest.approx(rate, rel=0.1)
            assert way.bucket == 0.0 and way.loss == 0.0
    agent, browser = (
        count(runs, REFERENCE, Criteria()) for runs in simulate_each(lines, 30.0, seed=1, runs=RUNS)
    )
    assert agent.grade == browser.grade, (agent, browser)
