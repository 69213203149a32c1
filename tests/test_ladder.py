"""The ladder: the rung that a sender settles on, over a simulated link."""

from __future__ import annotations

import pytest

from jharnet_monitor.profiles import RUNGS, Rung, rung
from jharnet_monitor.rtc.browser import BrowserReceiverReport
from jharnet_monitor.rtc.send.ladder import Ladder, Progress
from jharnet_monitor.rtc.send.sender import Sender


class SimulatedLink:
    """A link with a rate in bit/s and a queue in seconds, and what its receiver reports."""

    def __init__(self, rate: float, queue: float, loss: float = 0.0, others: float = 0.0) -> None:
        """`loss` is the share of random loss, `others` the rate of other traffic in bit/s."""
        self.rate, self.queue, self.loss, self.others = rate, queue, loss, others
        self.now = self.backlog = 0.0
        self.sent = self.lost = 0.0
        self.received = 0.0

    def report(self, step: Rung) -> Progress:
        """Send a rung for a quarter of a second and report on it."""
        self.now += 0.25
        packets = step.line_rate * 0.25 / 8 / (1000 if step.video else 164)
        share = step.line_rate / (step.line_rate + self.others)
        offered = (step.line_rate * (1 - self.loss) + self.others) * 0.25
        arriving = min(offered + self.backlog, self.rate * 0.25)
        excess = offered + self.backlog - arriving
        self.backlog = min(excess, self.rate * self.queue)
        dropped = (excess - self.backlog) / offered
        self.sent += packets
        self.lost += packets * (dropped + self.loss)
        self.received += arriving * share / 8
        return Progress(self.now, int(self.sent), int(self.lost), int(self.received),
                        0.02 + self.backlog / self.rate)  # fmt: skip


def settle(link: SimulatedLink, seconds: float = 12.0) -> tuple[Rung, list[float], Ladder]:
    """Run a ladder over a link; returns the last rung, when it changed, and the ladder."""
    ladder, changes = Ladder(rung("720p")), []
    ladder.report(Progress(0.0, 1, 0, 0, 0.02))  # the first packet is reported at once
    while link.now < seconds:
        step = ladder.report(link.report(ladder.rung))
        if step is not None:
            changes.append(link.now)
            link.backlog = 0.0  # the queue drains between two rungs
            ladder.rung_started(int(link.sent))
    return ladder.rung, changes, ladder


@pytest.mark.parametrize(
    ("rate", "height"),
    [(4e6, 720), (1.2e6, 720), (0.9e6, 720), (0.6e6, 360), (0.3e6, 360), (0.15e6, 180), (1e5, 0)],
)
@pytest.mark.parametrize("queue", [0.05, 0.2, 1.5])
def test_ladder_settles_on_the_rung_that_fits(rate: float, height: int, queue: float) -> None:
    """At the rates where Chromium changes its picture size the ladder settles on the same one."""
    last, changes, _ = settle(SimulatedLink(rate, queue))
    assert last.height == height
    assert last.line_rate <= rate
    if height < 720:
        assert changes[0] <= 2.0, "a rung that overloads the link is left within two seconds"


@pytest.mark.parametrize(("rate", "others"), [(4e6, 3.5e6), (1e6, 0.8e6), (2e6, 1.5e6)])
def test_ladder_leaves_room_for_other_traffic(rate: float, others: float) -> None:
    """Other traffic backs off from an excessive rung; the ladder steps down until both fit."""
    last, changes, ladder = settle(SimulatedLink(rate, 0.2, others=others))
    assert last.line_rate <= rate - others
    assert len(changes) > 1
    assert ladder.capacity is not None
    assert ladder.capacity < 1.5 * (rate - others)


def test_random_loss_is_no_overload() -> None:
    """10 % of random loss changes nothing; at 40 % a lower rate is tried once, without effect."""
    last, changes, _ = settle(SimulatedLink(10e6, 0.2, loss=0.1))
    assert last == RUNGS[-1]
    assert changes == []
    _, changes, ladder = settle(SimulatedLink(10e6, 0.2, loss=0.4))
    assert len(changes) == 1
    assert ladder.loss_stays


def test_an_interruption_is_no_overload() -> None:
    """Two seconds without any packet, and the losses in them, leave the rung unchanged."""
    link, ladder = SimulatedLink(4e6, 0.2), Ladder(rung("720p"))
    ladder.report(Progress(0.0, 1, 0, 0, 0.02))
    for _ in range(8):
        assert ladder.report(link.report(ladder.rung)) is None
    received_before = link.received
    for _ in range(8):
        latest = link.report(ladder.rung)
    link.lost, link.received = link.lost + 370, received_before
    interrupted = Progress(
        latest.at, latest.packets, int(link.lost), int(received_before), 0.02, longest_gap=2.0
    )
    assert ladder.report(interrupted) is None
    for _ in range(8):
        assert ladder.report(link.report(ladder.rung)) is None


@pytest.mark.parametrize(
    ("pause", "longest_gap", "idle", "wanted"),
    [(0.1, 0.09, 0.08, 1e6), (0.1, 0.012, 0.0, 1e6), (0.0, 0.09, 0.08, 0.87e6)],
    ids=["the link was idle", "its queue bridged the pause", "the link itself stood still"],
)
def test_a_pause_of_the_sender_is_not_the_rate_of_the_link(
    pause: float, longest_gap: float, idle: float, wanted: float
) -> None:
    """A link of 1 Mbit/s, of which a report is written every 0.1 s, and one pause before the third.
    Only time in which the sender stood still and nothing arrived is left out."""
    ladder, line_bytes = Ladder(rung("720p")), 0.0
    ladder.report(Progress(0.0, 1, 0, 0, 0.02, newest_at=0.0))
    for number in range(1, 8):
        paused = number == 3
        line_bytes += 125_000 * (0.1 - idle * paused)
        progress = Progress(
            0.1 * number, 1 + 10 * number, 0, int(line_bytes), 0.02 + 0.08 * number,
            longest_gap=longest_gap if paused else 0.01, longest_pause=pause * paused,
            newest_at=0.1 * number,
        )  # fmt: skip
        if ladder.report(progress) is not None:
            break
    assert ladder.capacity == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("finished", [False, True])
async def test_a_call_that_is_over_steps_down_no_more(finished: bool) -> None:
    """Reports still arrive then; a step down began the video again, after the end of the call."""
    sender = Sender(rung("720p"))
    for number in range(400):
        sender.audio.add(number, number / 50)
        sender.video.add(number, number / 50)
    sender.begin_video()
    for quarter in range(1, 9):
        sent = 50 * quarter
        report = BrowserReceiverReport(
            written=quarter / 4, line_bytes=600 * sent,
            audio_packets=sent, audio_lost=0, audio_newest=quarter / 4,
            video_packets=sent, video_lost=sent // 2, video_newest=quarter / 4,
        )  # fmt: skip
        if finished and quarter == 2:
            sender.finish()
        sender.browser_report_received(report, quarter / 4)
    assert (sender.ladder.capacity is None) is finished
    sender.finish()
