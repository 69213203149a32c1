"""Quality of a call: voice, video and grade."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jharnet_monitor.judge.conference.chromium_model import (
    client_video,
    freeze_scale,
    scaled_freeze_ratio,
)
from jharnet_monitor.judge.conference.grade import (
    Criteria,
    DirectionQuality,
    GradeLimit,
    grade_call,
    grade_direction,
    limited_by,
)
from jharnet_monitor.judge.conference.video import (
    Frame,
    detect_freezes,
    frames_per_second,
    g1070,
    playout_delay,
    render_times,
    video_mos,
)
from jharnet_monitor.judge.conference.voice import (
    VoiceCodec,
    burst_ratio,
    delay_impairment,
    loss_impairment,
    mos,
    r_factor,
)

INTERVAL = 1 / 30


@pytest.mark.parametrize(
    ("milliseconds", "impairment"),
    [(50, 1.60), (100, 2.69), (150, 3.82), (200, 7.55), (300, 20.69), (400, 31.11)],
)
def test_delay_impairment(milliseconds: int, impairment: float) -> None:
    """Id of G.107 with default echo parameters has the recomputed check values."""
    assert delay_impairment(milliseconds / 1000) == pytest.approx(impairment, abs=0.005)


@pytest.mark.parametrize(
    ("delay", "loss", "rating", "score"),
    [(0.05, 0.01, 88.1, 4.29), (0.15, 0.02, 82.5, 4.12), (0.3, 0.03, 62.5, 3.23)],
)
def test_e_model(delay: float, loss: float, rating: float, score: float) -> None:
    """R and MOS of G.711 with concealment have the check values."""
    assert r_factor(delay, loss) == pytest.approx(rating, abs=0.05)
    assert mos(r_factor(delay, loss)) == pytest.approx(score, abs=0.005)


def test_e_model_without_impairment() -> None:
    """With no delay and no loss R is the model's default, and the score never leaves 1 to 4.5."""
    assert r_factor(0.0, 0.0) == pytest.approx(93.2, abs=0.02)
    assert mos(-10) == 1
    assert mos(3) == 1
    assert mos(120) == 4.5


def test_a_codec_has_an_impairment_of_its_own() -> None:
    """G.729A by G.113: Ie 11 and Bpl 19, of which loss takes the rest up to 95."""
    codec = VoiceCodec(11.0, 19.0)
    assert loss_impairment(0.0, codec=codec) == 11.0
    assert loss_impairment(0.05, codec=codec) == pytest.approx(11 + 84 * 5 / 24)
    assert loss_impairment(0.05, 2.0, codec) == pytest.approx(11 + 84 * 5 / 21.5)


@given(st.lists(st.booleans(), max_size=200))
def test_burst_ratio_is_at_least_one(lost: list[bool]) -> None:
    """Whatever is lost, bursts never give a better rating than random loss."""
    ratio = burst_ratio(lost)
    assert ratio >= 1
    assert loss_impairment(0.02, ratio) >= loss_impairment(0.02)


@pytest.mark.parametrize(
    ("kilobits", "ratings"),
    [(256, (2.71, 2.33, 1.81)), (512, (3.51, 2.86, 2.03)), (1000, (3.90, 3.15, 2.18))],
)
def test_g1070(kilobits: float, ratings: tuple[float, ...]) -> None:
    """Vq of H.264 at VGA has the check values at 25 frames/s and 0, 1 and 3 % loss."""
    found = [g1070(kilobits, 25, loss) for loss in (0.0, 0.01, 0.03)]
    assert found == pytest.approx(ratings, abs=0.005)


def test_no_video_mos_outside_the_model() -> None:
    """Beyond H.264, VGA, 8-30 frames/s and 3 % loss there is no MOS, rather than a wrong one."""
    assert video_mos("h264", 360, 500, 25, 0.01) is not None
    assert video_mos("vp8", 360, 500, 25, 0.01) is None
    assert video_mos("h264", 720, 1500, 25, 0.01) is None
    assert video_mos("h264", 360, 500, 5, 0.01) is None
    assert video_mos("h264", 360, 500, 25, 0.05) is None


def _stream(count: int, late: dict[int, float | None], keys: int = 30) -> list[Frame]:
    """Frames that take 50 ms each; `late` adds to some, or loses them."""
    frames = []
    for index in range(count):
        extra = late.get(index, 0.0)
        complete = None if extra is None else index * INTERVAL + 0.05 + extra
        frames.append(Frame(index * INTERVAL, complete, index % keys == 0))
    return frames


def test_a_smooth_stream_never_freezes() -> None:
    """Every frame of an even stream is shown on time, at its rate."""
    times = render_times(_stream(300, {}), playout_delay(0.04))
    assert len(times) == 300
    assert detect_freezes(times, times[0], times[-1]).count == 0
    assert frames_per_second(times, times[0], times[0] + 9) == pytest.approx(30, abs=0.2)


def test_a_late_retransmission_delays_the_frames_after_it() -> None:
    """A frame that waits 400 ms for a retransmission is one freeze, less the playout delay."""
    delay = playout_delay(0.1)
    times = render_times(_stream(300, {100: 0.4}), delay)
    assert len(times) == 300
    frozen = detect_freezes(times, times[0], times[-1])
    assert frozen.count == 1
    assert frozen.seconds == pytest.approx(0.4 - delay + INTERVAL, abs=0.01)


def test_a_retransmission_within_the_playout_delay_causes_no_freeze() -> None:
    """A frame 150 ms late at a round trip of 150 ms is hidden by the playout delay."""
    times = render_times(_stream(300, {100: 0.15}), playout_delay(0.15))
    assert detect_freezes(times, times[0], times[-1]).count == 0


def test_a_lost_frame_freezes_the_picture_until_the_next_keyframe() -> None:
    """Without frame 100 the picture freezes until keyframe 120."""
    times = render_times(_stream(300, {100: None}), 0.04)
    assert len(times) == 280
    frozen = detect_freezes(times, times[0], times[-1])
    assert frozen.count == 1
    assert frozen.seconds == pytest.approx(21 * INTERVAL, abs=0.01)


def test_only_a_keyframe_ends_what_a_lost_frame_began() -> None:
    """A frame is a keyframe only where it says so: no other can be decoded after a lost one."""
    frames = [Frame(0.0, 0.05, key=True), Frame(INTERVAL, None)]
    frames += [Frame(number * INTERVAL, number * INTERVAL + 0.05) for number in range(2, 60)]
    assert render_times(frames, 0.04) == [pytest.approx(0.09)]
    assert render_times(frames[2:], 0.04) == []


def test_the_gap_still_open_at_the_end_is_frozen() -> None:
    """A picture that stands still when the call ends is frozen, as is one that never came."""
    times = [index * INTERVAL for index in range(90)]
    assert detect_freezes(times, 0.0, 5.0).seconds == pytest.approx(5.0 - 89 * INTERVAL, abs=0.001)
    assert detect_freezes([], 2.0, 5.0).seconds == 3.0


@pytest.mark.parametrize(
    ("times", "frozen"),
    [([0.0, 0.03, 0.07], 29.93), ([0.0, 6.0, 12.0, 18.0, 24.0], 30.0), ([0.0, 4.9, 9.8], 20.2)],
)
def test_a_picture_that_hardly_ever_came_is_frozen(times: list[float], frozen: float) -> None:
    """A gap of more than 5 s is a freeze although so few intervals have no usual one."""
    assert detect_freezes(times, 0.0, 30.0).seconds == pytest.approx(frozen)


def test_only_the_window_is_judged() -> None:
    """A freeze that began before the window counts from its start."""
    times = [index * INTERVAL for index in range(60)] + [4.0 + i * INTERVAL for i in range(60)]
    frozen = detect_freezes(times, 3.0, 6.0)
    assert frozen.count == 1
    assert frozen.seconds == pytest.approx(1.0)


@given(
    st.dictionaries(st.integers(0, 99), st.none() | st.floats(0, 2), max_size=30),
    st.floats(0, 0.6),
)
def test_frames_are_rendered_in_order_and_at_most_once(
    late: dict[int, float | None], trip: float
) -> None:
    """Frames are rendered in order, never more than were complete."""
    frames = _stream(100, late)
    times = render_times(frames, playout_delay(trip))
    assert times == sorted(times)
    assert len(times) <= sum(f.complete is not None for f in frames)
    frozen = detect_freezes(times, 0.0, 4.0)
    assert 0 <= frozen.seconds <= 4.0


GOOD = DirectionQuality(720, 30.0, 0.0, 0.0, 1.3e6, 0.0, 0.04)


@pytest.mark.parametrize(
    ("change", "grade"),
    [
        ({}, 4),
        ({"video_bits_per_second": 600e3}, 3),
        ({"frames_per_second": 15.0}, 3),
        ({"frames_per_second": 10.0}, 2),
        ({"height": 360}, 3),
        ({"height": 180}, 2),
        ({"height": 0, "frames_per_second": 0.0}, 1),
        ({"freeze_ratio": 0.06}, 1),
        ({"frames_per_second": 7.0}, 1),
        ({"concealed_ratio": 0.08}, 0),
    ],
)
def test_grade_of_a_direction(change: dict[str, float], grade: int) -> None:
    """Each criterion by itself changes the grade."""
    fields = {name: getattr(GOOD, name) for name in GOOD.__slots__}
    assert grade_direction(DirectionQuality(**(fields | change))) == grade


def test_the_worse_direction_decides_and_is_named() -> None:
    """A call is as good as its worse direction, and is limited by what limits that one."""
    narrow = DirectionQuality(360, 30.0, 0.0, 0.0, 2e5, 0.0, 0.05, stepped_down=True)
    result = grade_call(GOOD, narrow)
    assert (result.grade, result.worse, result.limited_by) == (3, "up", GradeLimit.RATE)
    lossy = DirectionQuality(720, 29.0, 0.12, 0.02, 1.3e6, 0.1, 0.06)
    assert grade_call(lossy, GOOD).limited_by is GradeLimit.LOSS
    far = DirectionQuality(720, 29.0, 0.22, 0.0, 1.3e6, 0.009, 0.35)
    assert grade_call(far, GOOD).limited_by is GradeLimit.DELAY
    assert grade_call(GOOD, GOOD).limited_by is GradeLimit.NONE


FULL: dict[str, Any] = {"stepped_down": True}


@pytest.mark.parametrize(
    ("change", "grade", "limit"),
    [
        # A line below the smallest usable rate, whatever it loses.
        (FULL | {"height": 0, "capacity": 90e3, "video_loss_ratio": 0.03}, 0, GradeLimit.RATE),
        # A line that the smallest video fills: the loss comes from that, unless a lower rung lost
        # as much.
        (FULL | {"height": 180, "capacity": 115e3, "video_loss_ratio": 0.08,
                 "concealed_ratio": 0.1}, 0, GradeLimit.RATE),
        (FULL | {"height": 180, "capacity": 115e3, "video_loss_ratio": 0.08,
                 "concealed_ratio": 0.1, "loss_stays": True}, 0, GradeLimit.LOSS),
        # A full line, and loss that no higher rate would cure.
        (FULL | {"height": 540, "capacity": 0.55e6, "video_loss_ratio": 0.1,
                 "concealed_ratio": 0.1}, 0, GradeLimit.LOSS),
        (FULL | {"height": 360, "capacity": 0.25e6, "video_loss_ratio": 0.02,
                 "freeze_ratio": 0.06}, 1, GradeLimit.RATE),
        (FULL | {"height": 720, "capacity": 0.7e6, "video_loss_ratio": 0.01,
                 "freeze_ratio": 0.12, "round_trip": 0.3}, 1, GradeLimit.DELAY),
        (FULL | {"height": 360, "capacity": 0.4e6, "video_loss_ratio": 0.03,
                 "video_bits_per_second": 2e5}, 3, GradeLimit.RATE),
        # A browser, whose line's capacity is not known: it backs off at loss as on a full line.
        (FULL | {"height": 360, "video_bits_per_second": 2e5}, 3, GradeLimit.RATE),
        (FULL | {"height": 360, "video_bits_per_second": 2e5, "video_loss_ratio": 0.1},
         3, GradeLimit.LOSS),
        # Audio only: the loss of video says nothing about it.
        ({"height": 0, "frames_per_second": 0.0, "concealed_ratio": 0.1}, 0, GradeLimit.LOSS),
        ({"freeze_ratio": 0.06}, 1, GradeLimit.DELAY),
        ({"freeze_ratio": 0.06, "video_loss_ratio": 0.015}, 1, GradeLimit.LOSS),
        # Few frames, none of them late: the line does not explain it.
        ({"frames_per_second": 7.0}, 1, GradeLimit.UNKNOWN),
        ({"frames_per_second": 7.0, "round_trip": 0.3}, 1, GradeLimit.DELAY),
        ({"video_bits_per_second": 600e3}, 3, GradeLimit.UNKNOWN),
        # The profile asked for no more.
        ({"height": 360, "video_bits_per_second": 4e5, "requested_height": 360}, 3,
         GradeLimit.NONE),
        ({"height": 180, "video_bits_per_second": 3e4, "requested_height": 180}, 2,
         GradeLimit.NONE),
        ({"height": 0, "frames_per_second": 0.0, "requested_height": 0}, 1, GradeLimit.NONE),
        ({"round_trip": 0.5}, 4, GradeLimit.DELAY),
    ],
)  # fmt: skip
def test_what_would_help(change: dict[str, Any], grade: int, limit: GradeLimit) -> None:
    """The limit is what decided the grade: the sentence made of it must not mislead."""
    quality = replace(GOOD, **change)
    assert grade_direction(quality) == grade
    assert grade_call(quality, GOOD).limited_by is limit


@pytest.mark.parametrize(
    ("change", "at", "beyond"),
    [
        ({"concealed_ratio": 0.07}, 4, 0), ({"freeze_ratio": 0.05}, 4, 1),
        ({"video_loss_ratio": 0.09}, 4, 3), ({"frames_per_second": -20.0}, 4, 3),
        ({"frames_per_second": -12.0}, 3, 2), ({"frames_per_second": -8.0}, 2, 1),
        ({"video_bits_per_second": -650e3}, 4, 3), ({"capacity": -107e3}, 4, 0),
        ({"height": -720}, 4, 3), ({"height": -360}, 3, 2), ({"height": -180}, 2, 1),
    ],
)  # fmt: skip
def test_a_limit_itself_still_has_the_better_grade(
    change: dict[str, Any], at: int, beyond: int
) -> None:
    """Of each criterion; a negative one is a least value, of which less is worse."""
    [(name, limit)] = change.items()
    worse = limit * (1.001 if limit > 0 else 0.999)
    qualities: list[dict[str, Any]] = [{name: abs(each)} for each in (limit, worse)]
    grades = [grade_direction(replace(GOOD, **each)) for each in qualities]
    assert grades == [at, beyond]


NARROW: dict[str, Any] = {"stepped_down": True, "height": 360, "video_bits_per_second": 2e5}


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        # 2 % of video lost are too much, 7 % of sound concealed are not.
        ({"freeze_ratio": 0.06, "video_loss_ratio": 0.02, "round_trip": 0.9}, GradeLimit.LOSS),
        ({"freeze_ratio": 0.06, "video_loss_ratio": 0.0199, "round_trip": 0.9}, GradeLimit.DELAY),
        ({"freeze_ratio": 0.06, "concealed_ratio": 0.07, "round_trip": 0.9}, GradeLimit.DELAY),
        # A round trip of 400 ms spoils no good call; half of either limit is named.
        ({"round_trip": 0.4}, GradeLimit.NONE), ({"round_trip": 0.401}, GradeLimit.DELAY),
        ({"frames_per_second": 7.0, "video_loss_ratio": 0.01}, GradeLimit.LOSS),
        ({"frames_per_second": 7.0, "video_loss_ratio": 0.0099}, GradeLimit.UNKNOWN),
        ({"frames_per_second": 7.0, "round_trip": 0.2}, GradeLimit.DELAY),
        ({"frames_per_second": 7.0, "round_trip": 0.199}, GradeLimit.UNKNOWN),
        ({"frames_per_second": 7.0, "freeze_ratio": 0.05}, GradeLimit.UNKNOWN),
        # As much of both: the delay.
        ({"frames_per_second": 7.0, "video_loss_ratio": 0.01, "round_trip": 0.2},
         GradeLimit.DELAY),
        # The rate explains the grade by itself, whatever is lost on a line of known capacity ...
        (NARROW | {"capacity": 0.4e6, "video_loss_ratio": 0.3, "round_trip": 0.9}, GradeLimit.RATE),
        # ... and on one that never was full, up to the loss at which a browser backs off.
        (NARROW | {"video_loss_ratio": 0.09}, GradeLimit.RATE),
        (NARROW | {"video_loss_ratio": 0.091}, GradeLimit.LOSS),
        # A frozen picture that would be better is due to the rate only with little loss and delay,
        (NARROW | {"capacity": 0.4e6, "freeze_ratio": 0.1, "video_loss_ratio": 0.0499,
                   "round_trip": 0.199}, GradeLimit.RATE),
        (NARROW | {"capacity": 0.4e6, "freeze_ratio": 0.1, "video_loss_ratio": 0.05,
                   "round_trip": 0.199}, GradeLimit.LOSS),
        (NARROW | {"capacity": 0.4e6, "freeze_ratio": 0.1, "video_loss_ratio": 0.0499,
                   "round_trip": 0.2}, GradeLimit.LOSS),
        # or if the line hardly carries the smallest video: 1.25 times 107 kbit/s.
        (NARROW | {"capacity": 133.7e3, "freeze_ratio": 0.1, "video_loss_ratio": 0.06},
         GradeLimit.RATE),
        (NARROW | {"capacity": 133.75e3, "freeze_ratio": 0.1, "video_loss_ratio": 0.06},
         GradeLimit.LOSS),
    ],
)  # fmt: skip
def test_what_is_named_at_each_limit(change: dict[str, Any], limit: GradeLimit) -> None:
    """On both sides of each limit of the sentence."""
    quality = replace(GOOD, **change)
    assert limited_by(quality, grade_direction(quality)) is limit


def test_the_smallest_rate_is_no_smaller() -> None:
    """107 kbit/s carry a call: what fails there is not the rate alone. A little less does not."""
    lossy = NARROW | {"capacity": 107e3, "video_loss_ratio": 0.1, "loss_stays": True}
    assert limited_by(replace(GOOD, **lossy), 0) is GradeLimit.LOSS
    assert limited_by(replace(GOOD, **lossy | {"capacity": 106.9e3}), 0) is GradeLimit.RATE


def test_a_client_shows_each_height_from_its_own_rate_on() -> None:
    """0.71 of the capacity, less 30 kbit/s of sound."""
    for video, height in ((420e3, 720), (200e3, 540), (100e3, 360)):
        capacity = (video + 30e3) / 0.71
        assert client_video(capacity * 1.000001).height == height
        assert client_video(capacity * 0.9999).height < height
    assert client_video(1e6).bits_per_second == pytest.approx(680e3)
    assert (client_video(20e3).height, client_video(20e3).bits_per_second) == (180, 0.0)


def test_freezes_follow_the_packets_of_a_frame() -> None:
    """1.7 Mbit/s are 6.16 packets of 1150 bytes; once to twice as often, and as ours at 9 %."""
    assert freeze_scale(None, 0.02, 4.0) == pytest.approx(1.7e6 / 8 / 30 / 1150 / 4.0)
    assert freeze_scale(1e6, 0.02, 2.0) == pytest.approx(680e3 / 8 / 30 / 1150 / 2.0)
    assert freeze_scale(9e6, 0.02, 4.0) == freeze_scale(None, 0.02, 4.0)
    assert freeze_scale(None, 0.02, 2.0) == freeze_scale(None, 0.02, 0.5) == 2.0
    assert freeze_scale(None, 0.02, 7.0) == freeze_scale(None, 0.02, 0.0) == 1.0
    assert (freeze_scale(None, 0.09, 7.0), freeze_scale(None, 0.091, 7.0)) == (1.0, 0.67)
    assert scaled_freeze_ratio(1.3, 0.67) == 1.0
    assert scaled_freeze_ratio(0.0, 2.0) == 0.0


def test_the_limit_follows_the_criteria() -> None:
    """3 % frozen is too much where 2 % are allowed; the limit is then the delay."""
    strict, quality = Criteria(frozen=0.02), replace(GOOD, freeze_ratio=0.03)
    assert grade_direction(quality) == 4
    result = grade_call(quality, GOOD, strict)
    assert (result.grade, result.limited_by) == (1, GradeLimit.DELAY)


QUALITIES = st.builds(
    DirectionQuality,
    height=st.sampled_from((0, 180, 360, 540, 720)),
    frames_per_second=st.floats(0, 30),
    freeze_ratio=st.floats(0, 1),
    concealed_ratio=st.floats(0, 1),
    video_bits_per_second=st.floats(0, 2e6),
    video_loss_ratio=st.floats(0, 1),
    round_trip=st.floats(0, 2),
    stepped_down=st.booleans(),
    loss_stays=st.booleans(),
    capacity=st.none() | st.floats(5e4, 2e6),
)


@given(QUALITIES)
def test_a_grade_below_the_best_has_a_limit(quality: DirectionQuality) -> None:
    """Below the best grade the limit is never `none`, and `rate` only after a step down."""
    grade = grade_direction(quality)
    assume(grade < 4)
    limit = limited_by(quality, grade)
    assert limit is not GradeLimit.NONE
    if limit is GradeLimit.RATE:
        assert quality.stepped_down


def test_the_criteria_can_be_changed() -> None:
    """An office that wants 25 frames/s for HD gets SD at 22."""
    quality = DirectionQuality(720, 22.0, 0.0, 0.0, 1.3e6, 0.0, 0.04)
    assert grade_direction(quality) == 4
    assert grade_direction(quality, Criteria(hd_frames=25.0)) == 3


def test_the_client_s_video_follows_the_line() -> None:
    """What Chromium showed on clean links, from `tests/bench/chromium_truth.json`."""
    assert client_video(0.14e6).height == 180
    assert client_video(0.25e6).height == 360
    assert client_video(0.9e6).height == 720
    assert (
        client_video(0.9e6).bits_per_second
        < Criteria().hd_rate
        < client_video(1.03e6).bits_per_second
    )


def test_no_conference_on_a_line_too_narrow_for_audio_and_video() -> None:
    """Chromium sends at least 30 kbit/s of video: at 0.1 Mbit/s it lost a quarter of its audio."""
    quality = DirectionQuality(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.04, stepped_down=True, capacity=0.1e6)
    assert grade_direction(quality) == 0
