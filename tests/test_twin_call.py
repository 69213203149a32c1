"""The twin's simulated call: what each step hands on, and what a whole call shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jharnet_monitor.judge.twin.call import ReceivedQuality, _Call, _lanes, simulate_each, warm_up
from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.path import Sent

CLEAR = LineModel(DirectionModel(rate=8e6), DirectionModel(rate=8e6))


def _call(line: LineModel, runs: int = 2, client: Client = REFERENCE) -> Any:
    """A call, of which tests replace parts."""
    rng = np.random.default_rng(1)
    return _Call(_lanes(line, runs, rng), client, (1.0, 2.0), rng)


def test_lanes_are_pairs_of_down_and_up() -> None:
    """Lane 2n is what the office receives, lane 2n + 1 what it sends."""
    line = LineModel(DirectionModel(rate=2e6, delay=0.1), DirectionModel(rate=1e6), 1.0, 9.0)
    columns = _lanes(line, 2, np.random.default_rng(1))
    assert columns["rate"].tolist() == [2e6, 1e6, 2e6, 1e6]
    assert columns["delay"].tolist() == [0.1, 0.02, 0.1, 0.02]
    assert columns["gone"].tolist() == [1.0] * 4 and columns["every"].tolist() == [9.0] * 4
    assert not {name for name in columns if name.endswith("_doubt")}


def test_doubts_are_spreads_of_the_logarithm() -> None:
    """Of rate, queue and loss; a rate is never above 20 Mbit/s, a loss never above 90 %."""
    way = DirectionModel(
        rate=1e6, queue=0.2, loss=0.1, rate_doubt=0.1, queue_doubt=0.5, loss_doubt=0.3
    )
    columns = _lanes(LineModel(way, way), 4000, np.random.default_rng(1))
    for name, middle, doubt in (("rate", 1e6, 0.1), ("queue", 0.2, 0.5), ("loss", 0.1, 0.3)):
        logs = np.log(columns[name] / middle)
        assert logs.mean() == pytest.approx(0.0, abs=0.03)
        assert logs.std() == pytest.approx(doubt, rel=0.05)
    wild = DirectionModel(rate=19e6, loss=0.8, rate_doubt=1.0, loss_doubt=1.0)
    columns = _lanes(LineModel(wild, wild), 100, np.random.default_rng(1))
    assert columns["rate"].max() == 20e6 and columns["loss"].max() == 0.9


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 30.0), ({"rate": 1.2e6}, 30.0), ({"rate": 1.19e6}, 65.0),
        ({"rate": 1.5e6, "others": 0.4e6}, 65.0), ({"transfer_on": 0.5}, 65.0),
    ],
)  # fmt: skip
def test_a_narrow_line_takes_longer_until_the_picture_has_its_size(
    changes: dict[str, float], seconds: float
) -> None:
    """Less than 1.2 Mbit/s, or transfers of others, in either direction."""
    way = DirectionModel(**changes)
    assert warm_up(LineModel(down=way)) == warm_up(LineModel(up=way)) == seconds


def test_feedback_of_the_other_direction_takes_its_share() -> None:
    """2 kbit/s and 5 % of the rate, 16 kbit/s at most; beside what others send."""
    for rate, others in ((8e6, 16e3), (0.2e6, 12e3)):
        way = DirectionModel(rate=rate, others=50e3)
        path = _call(LineModel(way, way)).path
        assert path.others_share == pytest.approx([(50e3 + others) / rate] * 4)


class _Spy:
    """Keeps what it is called with."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answer = answer

    def __call__(self, *given: Any) -> Any:
        self.calls.append(given)
        return self.answer


def test_a_probe_measures_95_percent_of_what_is_free() -> None:
    """Give or take 15 %, three times the client's rate and no more; jitter stretches it."""

    def probed(way: DirectionModel) -> Any:
        call = _call(LineModel(way, way), 4000)
        spy = call.control.probe = _Spy()
        call._probe(np.ones(8000, bool))
        return spy.calls[0][0]

    half = probed(DirectionModel(rate=2e6, others=0.984e6))  # 1 Mbit/s free beside the feedback
    assert np.median(half) == pytest.approx(0.95e6, rel=0.01)
    assert np.log(half).std() == pytest.approx(0.15, rel=0.05)
    assert np.median(probed(DirectionModel(rate=20e6))) == pytest.approx(5.1e6, rel=0.01)
    assert probed(DirectionModel(rate=0.05e6)).min() == 60e3
    # The last of four uniform draws is later than the first packet's by 0.3334 on average.
    rng = np.random.default_rng(2)
    later = np.maximum(0.0, rng.random((4, 100_000)).max(axis=0) - rng.random(100_000))
    stretched = np.median(0.95e6 / (1 + 2 * 0.01 * later / 0.015))
    jittery = probed(DirectionModel(rate=2e6, others=0.984e6, delay=0.05, jitter=0.01))
    assert np.median(jittery) == pytest.approx(stretched, rel=0.02)


def _framing(size: float, target: float, paced: float) -> tuple[Any, tuple[Any, ...]]:
    """A call that sends a single frame of a size, and what it hands to the path."""
    call = _call(CLEAR, 1)
    each = np.ones(2)
    call.control.target = target * each
    call.paced = paced * each
    call.encoder.frame = _Spy((size * each, each > 0))
    spy = call.path.send = _Spy(Sent(np.array([1, 0]), np.array([9, 10]), 10.2 * each))
    call._frame(10.0 * each, 0.03 * each, 0.06 * each)
    return call, spy.calls[0]


def test_packets_are_paced_at_two_and_a_half_times_the_target() -> None:
    """As libwebrtc's pacer; a target below 60 kbit/s counts as that."""
    call = _call(CLEAR, runs=1)
    call.control.target = np.array([20e3, 1e6])
    assert call._pace().tolist() == [150e3, 2.5e6]


def test_a_large_frame_leaves_at_the_pace() -> None:
    """11 400 bytes are ten packets of 1212; 96 960 bits at 2.5 times 1 Mbit/s take 38.8 ms, which
    are a burst; at 2.5 times 0.4 Mbit/s they take 97 ms, of which 40 leave at once."""
    call, (leaves, count, packet, span) = _framing(11_400.0, 1e6, 0.0)
    assert (leaves[0], count[0], packet[0], span[0]) == (10.0, 10, 1212.0, 0.0)
    assert call.paced[0] == pytest.approx(10.0 + 96_960 / 2.5e6)
    assert (call.packets.tolist(), call.lost.tolist()) == ([10, 10], [1, 0])
    assert call.bits.tolist() == [96_960.0] * 2
    assert call.acked.tolist() == pytest.approx([0.9 * 96_960, 96_960])
    assert call.arrived_last.tolist() == [10.2, 10.2]
    _, (leaves, _, _, span) = _framing(11_400.0, 0.4e6, 0.0)
    assert (leaves[0], span[0]) == (10.0, pytest.approx(0.09696 - 0.04))


def test_a_frame_waits_for_what_the_pacer_still_holds() -> None:
    """100 ms are waiting: 60 ms beyond the burst; then it takes all of its own 97 ms."""
    call, (leaves, _, _, span) = _framing(11_400.0, 0.4e6, 10.1)
    assert (leaves[0], span[0]) == (pytest.approx(10.06), pytest.approx(0.09696))
    assert call.paced[0] == pytest.approx(10.1 + 0.09696)
    _, (_, count, packet, _) = _framing(1141.0, 0.4e6, 0.0)
    assert (count[0], packet[0]) == (2, 570.5 + 72)
    call, _ = _framing(500.0, 30e3, 0.0)  # never slower than 2.5 times 60 kbit/s
    assert call.paced[0] == pytest.approx(10.0 + 572 * 8 / 150e3)


def test_sound_is_a_packet_of_88_bytes() -> None:
    """It counts as sent, and as arrived only if it did."""
    call = _call(CLEAR, 1)
    call.path.send = _Spy(Sent(np.array([0, 1]), np.array([1, 0]), np.array([1.02, 9.0])))
    call._audio(np.ones(2))
    assert call.bits.tolist() == [704.0, 704.0] and call.acked.tolist() == [704.0, 0.0]
    assert (call.packets.tolist(), call.lost.tolist()) == ([1, 1], [0, 1])
    assert call.arrived_last.tolist() == [1.02, 0.0]


def test_a_report_reaches_the_sender_after_the_round_trip() -> None:
    """120 ms are two feedbacks of 50 ms; the first ones get what there is."""
    call = _call(CLEAR, 1)
    spy = call.control.feedback = _Spy()
    for number in range(5):
        call.bits = np.array([100.0, 200.0]) + number
        call.arrived_last = call.arrived_before + 0.01 * number
        call._feedback(0.05 * number, np.array([0.12, 0.02]))
        assert call.bits.tolist() == [0.0, 0.0]
    got = [given[1] for given in spy.calls]
    assert [report.bits.tolist() for report in got] == [
        [100.0, 200.0], [100.0, 201.0], [100.0, 202.0], [101.0, 203.0], [102.0, 204.0],
    ]  # fmt: skip
    assert got[4].took.tolist() == pytest.approx([0.02, 0.04])


def test_lost_reports_do_not_arrive() -> None:
    """By the loss of the opposite direction."""
    line = LineModel(DirectionModel(loss=0.3), DirectionModel())
    call = _call(line, 3000)
    spy = call.control.feedback = _Spy()
    call._feedback(1.0, np.full(6000, 0.05))
    active = spy.calls[0][3]
    assert active[0::2].all() and active[1::2].mean() == pytest.approx(0.7, abs=0.03)


def test_retransmissions_are_limited_to_half_a_second_of_the_target() -> None:
    """What was repeated counts as sent, and for the limiter."""
    call = _call(CLEAR, 1)
    call.control.target = np.array([1e6, 1e6])
    call.recently = np.array([499_999.0, 500_000.0])
    spy = call.picture.retransmit = _Spy(
        (np.array([2, 0]), np.array([1, 0]), np.array([16_000.0, 0.0]))
    )
    assert call._repeat(np.ones(2), 0.1 * np.ones(2)) is True
    assert spy.calls[0][3].tolist() == [2.5e6, 2.5e6]
    assert spy.calls[0][4].tolist() == [True, False]
    assert call.recently.tolist() == [515_999.0, 500_000.0]
    assert call.bits.tolist() == [16_000.0, 0.0] and call.acked.tolist() == [8000.0, 0.0]
    assert call.repeated.tolist() == [16_000.0, 0.0]
    spy.answer = (np.zeros(2, int), np.zeros(2, int), np.zeros(2))
    assert call._repeat(np.ones(2), 0.1 * np.ones(2)) is False


def test_the_round_trip_includes_both_queues() -> None:
    """The delay of each way and what waits in its queue."""
    line = LineModel(DirectionModel(delay=0.05), DirectionModel(delay=0.02))
    call = _call(line, 1)
    call.path.backlog = np.array([0.1, 0.3])
    back, trip = call._delays()
    assert back.tolist() == pytest.approx([0.32, 0.15])
    assert trip.tolist() == pytest.approx([0.47, 0.47])


def test_a_cycle_has_three_frames_five_packets_of_sound_and_two_feedbacks() -> None:
    """For two seconds: 60 frames 1/30 s apart, 100 packets 20 ms apart, 40 feedbacks."""
    call = _call(CLEAR, 1)
    found: dict[str, list[float]] = {"frame": [], "audio": [], "feedback": []}
    call._frame = lambda now, *_: found["frame"].append(float(now[0] - call.phase[0]))
    call._audio = lambda now: found["audio"].append(float(now[0] - call.phase[0]))
    call._feedback = lambda now, _: found["feedback"].append(now)
    call._probe = _Spy()
    call.run()
    assert found["frame"] == pytest.approx(np.arange(60) / 30, abs=1e-6)
    assert found["audio"] == pytest.approx(0.007 + np.arange(100) * 0.02, abs=2e-4)
    assert found["feedback"] == pytest.approx(0.05 + np.arange(40) * 0.05, abs=1e-6)
    assert (call.phase >= 0).all() and call.phase.max() < 0.004
    # A probe is answered 250 ms and a round trip after the start.
    probes = [number for number, (active,) in enumerate(call._probe.calls) if active[0]]
    assert probes == [3] and len(call._probe.calls) == 4


def test_the_results_are_shares_of_the_window() -> None:
    """Of its one second: frames, bits and frozen time a second; sound of the sound played."""
    call = _call(CLEAR, 1)
    call.window = (1.0, 3.0)
    call.voice.total, call.voice.concealed = 2.0, np.array([0.1, 0.0])
    call.picture.frozen, call.picture.frames = np.array([0.5, 9.0]), np.array([50.0, 60.0])
    call.picture.bits, call.picture.lines = np.array([2e6, 1e6]), np.array([720.0, 360.0])
    [run] = call.shown()
    assert run.down == ReceivedQuality(0.05, 0.25, 25.0, 720.0, 1e6)
    assert run.up == ReceivedQuality(0.0, 1.0, 30.0, 360.0, 0.5e6)


def test_a_call_on_a_clear_line_is_perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 frames/s, nothing frozen or concealed, and all the video that the client has."""
    monkeypatch.setattr("jharnet_monitor.judge.twin.call.WINDOW", 5.0)
    small = Client(max_video=0.2e6)
    narrow = LineModel(DirectionModel(rate=8e6), DirectionModel(rate=0.03e6))
    clear, mixed = simulate_each([CLEAR, narrow], 4.0, seed=1, client=small, runs=2)
    for run in clear:
        for way in (run.down, run.up):
            assert (way.concealed, way.frozen, way.height) == (0.0, 0.0, 360.0)
            assert way.frames == pytest.approx(30.0, abs=0.3)
            assert way.rate == pytest.approx(0.2e6, rel=0.1)
    for run in mixed:
        assert run.up.rate < 0.03e6 and run.down.rate > 0.15e6


@pytest.mark.parametrize(
    ("changes", "short"),
    [
        # 1240 bytes at 1 Mbit/s take 9.92 ms: a server's flight needs that much of a known queue.
        ({"queue": 0.00992}, False), ({"queue": 0.009919}, True),
        ({"queue": 1e-5, "queue_doubt": 0.5}, True), ({"queue": 1e-5, "queue_doubt": 0.51}, False),
        ({"queue": 0.0, "bucket": 0.1}, False),
        ({"rate": 0.5e6, "queue": 0.01983}, True), ({"rate": 0.5e6, "queue": 0.01985}, False),
    ],
)  # fmt: skip
def test_a_queue_must_hold_a_servers_flight(changes: dict[str, float], short: bool) -> None:
    """Where its depth is known and it is no policer's, in that direction only."""
    way = DirectionModel(**({"rate": 1e6} | changes))
    columns = _lanes(LineModel(way, DirectionModel()), 2, np.random.default_rng(3))
    assert columns["short"].tolist() == [short, False] * 2


@pytest.mark.filterwarnings("error")
def test_a_call_whose_flight_does_not_fit_shows_nothing() -> None:
    """Neither way: no picture, no frames, and all sound lost; nothing is divided by no packets."""
    line = LineModel(DirectionModel(rate=1e6, queue=0.009), DirectionModel())
    [run] = _call(line, 1).shown()
    nothing = ReceivedQuality(concealed=1.0, frozen=1.0, frames=0.0, height=0.0, rate=0.0)
    assert run.down == run.up == nothing


def test_a_call_does_not_depend_on_the_lines_simulated_with_it() -> None:
    """A line that its own call overloads, alone and beside one with transfers of others. It was
    frozen all the time beside one."""
    narrow = LineModel(DirectionModel(rate=0.085e6, queue=0.12, delay=0.02), DirectionModel())
    filled = DirectionModel(rate=1e6, queue=0.2, delay=0.02, transfer_on=5.0, transfer_off=5.0)
    alone = simulate_each([narrow], 10.0, 1, runs=8)[0]
    together = simulate_each([LineModel(filled, filled), narrow], 10.0, 1, runs=8)[1]
    for name in ("concealed", "frozen", "frames", "rate"):
        means = [np.mean([getattr(run.down, name) for run in runs]) for runs in (alone, together)]
        assert means[0] == pytest.approx(means[1], rel=0.25, abs=0.02), name
