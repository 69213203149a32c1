"""Limits of the judgement at which nothing but one step decides, each worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import inf, log10
from zoneinfo import ZoneInfo

import pytest

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import (
    conference_near,
    in_conference,
    in_office_hours,
    office_windows,
)
from jharnet_monitor.judge.calendar.windows import window_indices
from jharnet_monitor.judge.conference.shared_line import Share, shared_line
from jharnet_monitor.judge.conference.video import (
    Frame,
    detect_freezes,
    frames_per_second,
    playout_delay,
    render_times,
    video_mos,
)
from jharnet_monitor.judge.latency import jitter, percentile, summarise
from jharnet_monitor.judge.line.interface_counters import (
    InterfaceCount,
    InterfaceCounters,
    InterfaceRates,
    NoRate,
    rates_between,
)
from jharnet_monitor.judge.line.interface_faults import (
    InterfaceFault,
    LanReadings,
    interface_faults,
)
from jharnet_monitor.judge.line.packet_trains import PacketArrival, train_capacity
from jharnet_monitor.judge.line.throughput import (
    Estimate,
    RttSample,
    Sample,
    estimate,
    estimate_over_same_bytes,
    fit,
    is_stable,
    loaded_rtt,
    samples_between,
    slope,
    window_seconds,
    windows_agree,
)
from jharnet_monitor.judge.services import PageVisit

IST = ZoneInfo("Asia/Kolkata")
DISTRICT = District.model_validate({
    "id": "d", "name": "D", "name_hi": "द",
    "conferences": [{"days": "wed", "from": "11:00", "to": "13:00"}],
})  # fmt: skip


def _at(hour: int, minute: int = 0, second: int = 0, day: int = 25) -> datetime:
    """A moment of November 2026; the 25th is a Wednesday."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=IST)


def test_office_hours_and_conferences_end_with_their_last_second() -> None:
    """10:00 to 17:30 and 11 to 13 o'clock, in whatever time zone the moment is given."""
    for moment, inside in (
        (_at(9, 59, 59), False), (_at(10), True), (_at(17, 29, 59), True), (_at(17, 30), False),
        (_at(12, day=22), False),
    ):  # fmt: skip
        assert in_office_hours(DISTRICT, moment) is inside
        assert in_office_hours(DISTRICT, moment.astimezone(UTC)) is inside
    for moment, inside in (
        (_at(10, 59, 59), False), (_at(11), True), (_at(12, 59, 59), True), (_at(13), False),
        (_at(12, day=26), False),
    ):  # fmt: skip
        assert in_conference(DISTRICT, moment) is inside
    near = timedelta(minutes=30)
    assert conference_near(DISTRICT, _at(12, 59, 59), near) == (_at(11), _at(13))
    assert conference_near(DISTRICT, _at(13), near) is None
    assert conference_near(DISTRICT, _at(10, 30, day=26), near) is None


def test_a_moment_at_the_end_of_a_window_is_outside() -> None:
    """To the millisecond; the second window is that of the next working day."""
    windows = office_windows(DISTRICT, [date(2026, 11, 25), date(2026, 11, 26)])
    moments = [windows[0][0], windows[0][1], windows[1][0], windows[1][1]]
    at = [round(moment.timestamp() * 1000) for moment in moments]
    assert window_indices(at, windows).tolist() == [0, -1, 1, -1]
    assert window_indices([each - 1 for each in at], windows).tolist() == [-1, 0, -1, 1]
    assert window_indices(at, []).tolist() == [-1] * 4


@pytest.mark.parametrize(
    ("calls", "peak", "contracted", "expected"),
    [
        # Two of four were held back although their lines carry the wanted 1.5: the shared one is
        # full, and 3.2 Mbit/s at the peak are two calls.
        ([(0.7e6, 0.8e6, 3e6)] * 2 + [(0.9e6, None, 3e6)] * 2, 3.2e6, None, (True, 2, 2)),
        ([(0.7e6, 0.8e6, 3e6)] * 2 + [(0.9e6, None, 3e6)] * 3, 3.9e6, None, (False, 3, 2)),
        ([(0.7e6, 0.8e6, 1.5e6)] * 2, 1.5e6, None, (True, 1, 2)),
        ([(0.7e6, 0.8e6, 1.49e6)] * 2, 1.5e6, None, (False, 0, 0)),
        ([(0.7e6, 0.8e6, None)] * 2, 1.5e6, None, (False, 0, 0)),
        ([(0.7e6, 0.8e6, 3e6)], 1.5e6, None, (False, 0, 1)),
        ([(0.9e6, 0.9e6, None), (1e6, None, None)], 1.8e6, 2e6, (True, 1, 0)),
        ([(0.9e6, 0.9e6, None), (1e6, None, None)], 1.8e6, 2.2e6, (False, 1, 0)),
        ([(0.9e6, None, None), (1e6, None, None)], 1.8e6, 2e6, (False, 2, 0)),
    ],
)  # fmt: skip
def test_the_shared_line_is_full_for_what_it_held_back(
    calls: list[tuple[float, float | None, float | None]], peak: float, contracted: float | None,
    expected: tuple[bool, int, int],
) -> None:  # fmt: skip
    """Half of the calls, two at least, or 90 % of the contract."""
    shares = [Share(f"o{n}", *values) for n, values in enumerate(calls)]
    found = shared_line(shares, peak, 1.5e6, contracted)
    assert (found.full, found.supported_calls, len(found.held_back or ())) == expected
    total = sum(rate for rate, _, _ in calls)
    assert found.rate == pytest.approx(total) and found.peak_rate == max(peak, total)
    assert shared_line(shares, None, 1.5e6, contracted).peak_rate == pytest.approx(total)


def test_the_parts_of_a_visit_add_up() -> None:
    """What is not known takes no time; nothing takes less than none."""
    visit = PageVisit(total=2.0, dns=0.1, connect=0.2, tls=0.3, first_byte=0.5)
    assert visit.transfer == pytest.approx(0.9)
    assert PageVisit().transfer == PageVisit().path == 0.0
    assert PageVisit(total=0.4, dns=0.5).transfer == 0.0
    assert PageVisit(total=0.4).transfer == 0.4


def test_the_buffer_follows_the_round_trip() -> None:
    """0.9 of it up to 200 ms, 8 ms more, 40 ms at least; 15 ms less on a line that it fills."""
    for trip, delay in ((0.0, 0.04), (0.0356, 0.04004), (0.1, 0.098), (0.3, 0.208)):
        assert playout_delay(trip) == pytest.approx(delay)
        assert playout_delay(trip, full=True) == pytest.approx(delay - 0.015)


def test_a_freeze_needs_five_intervals_and_the_definitions_gap() -> None:
    """Of 29 even gaps of 40 ms and one of g: g >= mean + 150 ms from 195.2 ms on."""
    even = [0.04 * number for number in range(30)]
    for gap, count in ((0.195, 0), (0.1955, 1)):
        times = [*even, even[-1] + gap]
        found = detect_freezes(times, 0.0, times[-1])
        assert found.count == count and found.seconds == pytest.approx(gap * count)
    few = [0.0, 0.04, 0.08, 0.12, 1.12]
    assert detect_freezes(few, 0.0, 1.12).count == 0
    assert detect_freezes([0.0, *(0.04 + each for each in few)], 0.0, 1.16).count == 1
    # Older gaps than the last thirty do not count: 100 ms each, then 40.
    older = [0.1 * number for number in range(40)]
    newer = older + [older[-1] + 0.04 * number for number in range(1, 30)]
    assert detect_freezes([*newer, newer[-1] + 0.1955], 0.0, 99.0).count == 2  # and the open one


def test_the_first_picture_may_take_a_second() -> None:
    """Later, the wait is a freeze; one that comes at the end is none of the window's."""
    times = [0.9999 + 0.04 * number for number in range(20)]
    assert detect_freezes(times, 0.0, times[-1]).count == 0
    times = [1.0 + 0.04 * number for number in range(20)]
    assert detect_freezes(times, 0.0, times[-1]).seconds == 1.0
    assert detect_freezes([3.0], 0.0, 3.0).seconds == 3.0


def test_frames_wait_three_seconds_and_the_base_is_kept_for_three() -> None:
    """A frame of 3 s more is waited for, of more it is given up until a key frame."""

    def shown(late: float) -> int:
        frames = [Frame(0.1 * n, 0.1 * n + 0.05 + (late if n == 5 else 0.0), n in {0, 60})
                  for n in range(70)]  # fmt: skip
        return len(render_times(frames, 0.04))

    assert (shown(2.999), shown(3.001)) == (70, 15)
    # The path becomes 1 s slower: after 3 s that is the base, and the buffer is kept again.
    slower = [Frame(0.1 * n, 0.1 * n + (0.05 if n < 10 else 1.05), n == 0) for n in range(60)]
    times = render_times(slower, 0.04)
    waits = [at - frame.complete for at, frame in zip(times, slower, strict=True) if frame.complete]
    assert waits[0] == pytest.approx(0.04) and waits[38] == pytest.approx(0.0, abs=1e-9)
    assert waits[39] == waits[59] == pytest.approx(0.04)
    assert frames_per_second([0.0, 1.0, 2.0], 0.0, 2.0) == 1.0


def test_the_video_model_has_limits() -> None:
    """VGA, 8 to 30 frames/s (of which 30.5 are a rounding), 3 % of loss."""
    for height, fps, loss, known in (
        (480, 25, 0.0, True), (481, 25, 0.0, False), (0, 25, 0.0, False), (1, 25, 0.0, True),
        (360, 8, 0.0, True), (360, 7.9, 0.0, False), (360, 30.5, 0.0, True),
        (360, 30.6, 0.0, False), (360, 25, 0.03, True), (360, 25, 0.031, False),
    ):  # fmt: skip
        assert (video_mos("H264", height, 500, fps, loss) is not None) is known
    assert video_mos("h264", 360, 500, 30.5, 0.0) == video_mos("h264", 360, 500, 30.0, 0.0)


def test_jitter_and_percentiles_are_those_of_their_definitions() -> None:
    """Changes of 16, 32 and 0 ms: RFC 3550's sum over the weights, which have not reached 1."""
    weights = [(15 / 16) ** 2 / 16, 15 / 16 / 16, 1 / 16]
    expected = (16 * weights[0] + 32 * weights[1] + 0 * weights[2]) / sum(weights)
    assert jitter([0.01, 0.026, 0.058, 0.058]) == pytest.approx(expected / 1000)
    assert jitter([0.01]) == 0.0
    assert percentile([1.0, 2.0, 4.0], 0.75) == 3.0 and percentile([1.0, 5.0], 1.0) == 5.0
    assert summarise([0.1], 1, 1).keys() == {
        "sent", "received", "loss_ratio", "rtt_min_seconds", "rtt_p50_seconds", "rtt_p95_seconds",
        "rtt_max_seconds",
    }  # fmt: skip
    assert summarise([0.1234567, 0.1], 4, 4)["rtt_max_seconds"] == 0.123457


def _reading(at: float, ticks: int, octets: int, **changes: int) -> InterfaceCounters:
    count = InterfaceCount(octets, changes.get("packets"), changes.get("errors"),
                           changes.get("discards"))  # fmt: skip
    return InterfaceCounters(
        at, ticks, count, count, changes.get("bits", 64), changes.get("header", 0),
        changes.get("speed"), changes.get("discontinuity", 0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # sysUpTime wraps after 2^32 hundredths.
        (_reading(0, 2**32 - 500, 0), _reading(10, 500, 1000), 800.0),
        # 3.2 s of tolerance at 10 s.
        (_reading(0, 0, 0), _reading(10, 1320, 1000), 1000 * 8 / 13.2),
        (_reading(0, 0, 0), _reading(10, 1321, 1000), NoRate.RESTARTED),
        (_reading(0, 700, 0), _reading(10, 700, 1000), NoRate.RESTARTED),
        (_reading(0, 0, 9), _reading(10, 1000, 8), NoRate.RESTARTED),
        (_reading(0, 0, 9, discontinuity=1), _reading(10, 1000, 10), NoRate.RESTARTED),
        # 32 bits wrap within 10 s at 2^32 * 8 / 10 = 3.44 Gbit/s.
        (_reading(0, 0, 2**32 - 500, bits=32),
         _reading(10, 1000, 500, bits=32, speed=10**9), 800.0),
        (_reading(0, 0, 0, bits=32), _reading(10, 1000, 1000, bits=32), NoRate.AMBIGUOUS),
        (_reading(0, 0, 0, bits=32), _reading(10, 1000, 1000, bits=32, speed=3_435_973_837),
         NoRate.AMBIGUOUS),
        (_reading(0, 0, 0, bits=32), _reading(10, 1000, 1000, bits=32, speed=3_435_973_836), 800.0),
        # 8 Mbit/s carry 25 000 000 octets in 10 s and the 15 s of a late update.
        (_reading(0, 0, 4_000_000_000, bits=32),
         _reading(10, 1000, 500, bits=32, speed=8_000_000), NoRate.RESTARTED),
        (_reading(0, 0, 2**32 - 9, bits=32),
         _reading(10, 1000, 24_999_991, bits=32, speed=8_000_000), 20e6),
        (_reading(0, 0, 2**32 - 9, bits=32),
         _reading(10, 1000, 24_999_992, bits=32, speed=8_000_000), NoRate.RESTARTED),
        # More than the stated speed, but no wrap: the speed is wrong.
        (_reading(0, 0, 0, bits=32),
         _reading(10, 1000, 50_000_000, bits=32, speed=8_000_000), 40e6),
        (_reading(0, 0, 0, errors=5), _reading(10, 1000, 1000, errors=4), NoRate.RESTARTED),
        (_reading(0, 0, 0, discards=2**31), _reading(10, 1000, 1000, discards=0),
         NoRate.RESTARTED),
        (_reading(0, 0, 0, discards=2**31 + 1), _reading(10, 1000, 1000, discards=0), 800.0),
        # 18 bytes of framing for each of 10 packets.
        (_reading(0, 0, 0, packets=5), _reading(10, 1000, 1000, packets=15, header=18), 656.0),
        (_reading(0, 0, 0, packets=5), _reading(10, 1000, 100, packets=15, header=18), 0.0),
    ],
)  # fmt: skip
def test_counters_give_a_rate_only_if_it_is_certain(
    before: InterfaceCounters, after: InterfaceCounters, expected: float | NoRate
) -> None:
    """Both directions alike."""
    found = rates_between(before, after)
    if isinstance(expected, NoRate):
        assert found is expected
    else:
        assert isinstance(found, InterfaceRates)
        assert found.inbound == found.outbound == pytest.approx(expected)


def test_damaged_packets_are_a_share_of_all() -> None:
    """20 of 80 good and 20 bad; counters of 32 bits may wrap."""
    before = _reading(0, 0, 0, packets=100, errors=2**32 - 5, discards=7)
    after = _reading(10, 1000, 0, packets=180, errors=15, discards=7)
    found = rates_between(before, after)
    assert isinstance(found, InterfaceRates)
    assert (found.inbound_errors, found.outbound_errors) == (0.2, 0.2)
    assert (found.inbound_discards, found.outbound_discards) == (0.0, 0.0)
    idle = rates_between(before, _reading(10, 1000, 0, packets=100, errors=2**32 - 5, discards=7))
    assert isinstance(idle, InterfaceRates) and idle.inbound_errors is None
    uncounted = rates_between(_reading(0, 0, 0), _reading(10, 1000, 0, packets=1, errors=0))
    assert isinstance(uncounted, InterfaceRates) and uncounted.inbound_errors is None


def test_an_interfaces_faults_begin_above_their_limits() -> None:
    """0.1 % damaged, 1 % discarded, less than 95 % of the contract."""
    sound = {"lan_error_ratio": 0.001, "upload_error_ratio": 0.001, "download_error_ratio": 0.001,
             "upload_discard_ratio": 0.01}  # fmt: skip
    speed = {"interface_bits_per_second": 3.8e6, "duplex": "full", "lan_duplex": "full"}
    assert list(interface_faults(sound, speed, 4e6)) == []
    for change, fault in (
        ({"lan_error_ratio": 0.0011}, InterfaceFault.LAN_ERRORS),
        ({"upload_error_ratio": 0.0011}, InterfaceFault.LINE_ERRORS),
        ({"download_error_ratio": 0.0011}, InterfaceFault.LINE_ERRORS),
        ({"upload_discard_ratio": 0.011}, InterfaceFault.QUEUE_FULL),
    ):
        assert list(interface_faults(sound | change, speed, 4e6)) == [fault]
    slow = {"interface_bits_per_second": 3.79e6}
    assert list(interface_faults({}, slow, 4e6)) == [InterfaceFault.TOO_SLOW]
    assert list(interface_faults({}, slow, None)) == list(interface_faults({}, {}, 4e6)) == []
    assert list(interface_faults({}, {"duplex": "half"}, None)) == [InterfaceFault.LINE_DUPLEX]


def test_a_lan_is_faulty_for_half_of_an_hour() -> None:
    """Six of twelve readings; those without either condition do not count."""
    for seen, faulty, expected in ((12, 6, True), (12, 5, False), (11, 11, False)):
        readings = LanReadings()
        readings.add({"lan_duplex": "half"}, faulty - 1)
        readings.add({"lan_errors": True})
        readings.add({"lan_duplex": "full", "lan_errors": False}, seen - faulty)
        readings.add({"duplex": "half"}, 50)
        assert (readings.seen, readings.faulty, readings.is_faulty) == (seen, faulty, expected)


def _stream(rate: float, seconds: float, begin: float = 0.0, step: float = 0.01) -> list[Sample]:
    """An even stream in bit/s."""
    number = round(seconds / step)
    return [Sample(begin + n * step, n * step * rate / 8) for n in range(number + 1)]


def test_a_slope_is_that_of_least_squares() -> None:
    """Of (0, 0), (1, 1), (2, 4): 2 bytes/s; the error follows the residuals 1/3, -2/3, 1/3."""
    points = [Sample(0.0, 0.0), Sample(1.0, 1.0), Sample(2.0, 4.0)]
    assert slope(points) == 16.0
    assert slope(points[:2]) == slope([Sample(1.0, 2.0)] * 3) == 0.0
    assert fit(points) == (16.0, inf)
    four = [Sample(0.0, 0.0), Sample(1.0, 2.0), Sample(2.0, 2.0), Sample(3.0, 4.0)]
    # Slope 1.2; residuals -0.2, 0.6, -0.6, 0.2, whose neighbours do not go together.
    error = (0.8 / 4 / (5 * 4 / 4)) ** 0.5
    rate, found = fit(four)
    assert rate == pytest.approx(9.6)
    assert found == pytest.approx((1.96 + 4 / 4) * error / 1.2)
    bent = [Sample(float(n), float(n * n)) for n in range(8)]
    rest = [n * n - 17.5 - 7 * (n - 3.5) for n in range(8)]
    squares = sum(one * one for one in rest)
    together = sum(a * b for a, b in zip(rest[1:], rest, strict=False)) / squares
    effective = max(2.0, 8 * (1 - together) / (1 + together))
    error = (squares / 8 / (42 * effective / 8)) ** 0.5
    assert fit(bent) == pytest.approx((56.0, (1.96 + 4 / effective) * error / 7))
    assert fit(_stream(1e6, 1.0))[1] == pytest.approx(0.0, abs=1e-6)
    assert fit([Sample(float(n), 5.0) for n in range(9)])[1] == inf


def test_a_window_is_half_a_second_or_more_than_a_round_trip() -> None:
    """1.2 round trips; the samples of a window include both ends."""
    assert (window_seconds(0.1), window_seconds(1.0)) == (0.5, 1.2)
    samples = [Sample(float(n), 0.0) for n in range(5)]
    assert [one.seconds for one in samples_between(samples, 1.0, 3.0)] == [1.0, 2.0, 3.0]


def test_windows_agree_within_three_percent() -> None:
    """One of 1 Mbit/s, one a little slower; and none before two of them have passed."""
    for factor, agrees in ((0.975, True), (0.96, False)):
        early = _stream(1e6, 0.5)
        late = [Sample(0.5 + one.seconds, early[-1].ip_bytes + factor * one.ip_bytes)
                for one in early[1:]]  # fmt: skip
        assert windows_agree([*early, *late], 1.0) is agrees
    steady = _stream(1e6, 1.0)
    assert is_stable(steady) and not is_stable(steady[1:]) and not is_stable([])
    assert not windows_agree([Sample(one.seconds, 0.0) for one in steady], 1.0)


def test_an_estimate_needs_a_window_and_something_in_it() -> None:
    """Of a rising stream, the last two windows; unstable."""
    steady = _stream(2e6, 3.0)
    found = estimate(steady)
    assert found is not None and found.stable
    assert found.rate == pytest.approx(2e6) and found.end == pytest.approx(1.0)
    assert estimate(_stream(2e6, 0.49)) is None and estimate([]) is None
    assert estimate([Sample(one.seconds, 0.0) for one in steady]) is None
    rising = [Sample(n / 100, (n / 100) ** 3 * 1e5) for n in range(301)]
    found = estimate(rising)
    assert found is not None and not found.stable
    assert found.end == 3.0 and 2.0 <= found.start < 3.0
    # Slow start in the first tenth of the windows is left out.
    late = [Sample(one.seconds, max(0.0, one.seconds - 0.1) * 2.5e5) for one in _stream(2e6, 1.0)]
    found = estimate(late, 0.5)
    assert found is not None and found.rate == pytest.approx(2e6, rel=0.01)
    assert found.start == pytest.approx(0.1, abs=0.051)


def test_a_second_counter_is_judged_over_the_same_bytes() -> None:
    """Its clock is 100 s ahead, and 1 % faster."""
    reference = _stream(2e6, 3.0)
    found = Estimate(2e6, 0.0, True, 1.0, 2.0)
    reported = [Sample(100 + 1.01 * one.seconds, one.ip_bytes) for one in reference]
    same = estimate_over_same_bytes(reported, reference, found)
    assert same is not None and same.stable
    assert same.rate == pytest.approx(2e6 / 1.01)
    assert (same.start, same.end) == pytest.approx((101.01, 102.02))
    # It stopped at 81 % of the window's bytes, which are enough; 79 % are not.
    for seconds, known in ((1.81, True), (1.79, False)):
        part = [one for one in reported if one.ip_bytes <= seconds * 2.5e5]
        assert (estimate_over_same_bytes(part, reference, found) is not None) is known
    assert estimate_over_same_bytes([], reference, found) is None


def test_the_loaded_round_trip_weighs_by_what_arrived() -> None:
    """1 Mbit/s for 2 s, then 3: of two answers at 1 and 3 s the later weighs three times."""
    samples = [Sample(0.0, 0.0), Sample(2.0, 250_000.0), Sample(4.0, 1_000_000.0)]
    rtts = [RttSample(0.9, 0.1), RttSample(2.7, 0.3)]
    # Edges at 0, 2 and 3 s: 250 000 and 375 000 bytes.
    assert loaded_rtt(rtts, samples, 3e6, 4.0) == pytest.approx((2 * 0.1 + 3 * 0.3) / 5)
    late = [*rtts, RttSample(4.1, 0.9)]
    assert loaded_rtt(late, samples, 3e6, 4.0) == loaded_rtt(rtts, samples, 3e6, 4.0)
    # Answered at 5 s, a second after the last byte: what was still queued arrived at 3 Mbit/s.
    queued = [*rtts, RttSample(4.0, 1.0)]
    # Edges at 0, 2, 4 and 5 s.
    weights = (250_000, 750_000, 375_000)
    expected = (0.1 * weights[0] + 0.3 * weights[1] + 1.0 * weights[2]) / sum(weights)
    assert loaded_rtt(queued, samples, 3e6, 4.0) == pytest.approx(expected)
    assert loaded_rtt([], samples, 3e6, 4.0) is loaded_rtt(rtts, [], 3e6, 4.0) is None


def test_a_train_shows_its_capacity_by_its_even_gaps() -> None:
    """6 ms for 1500 bytes are 2 Mbit/s; a lost packet leaves no gap that counts."""
    even = [PacketArrival(n, n * 0.006) for n in range(10) if n != 4]
    found = train_capacity(even[::-1], 1500)
    assert found is not None and found.rate == pytest.approx(2e6)
    assert train_capacity(even[:4], 1500) is None
    assert train_capacity(even[:5], 1500) is not None
    assert train_capacity([PacketArrival(n, 1.0) for n in range(9)], 1500) is None
    # Six of ten gaps within 10 %: their mean counts, and the largest deviation over the root of 6.
    gaps = [0.006, 0.0062, 0.0058, 0.012, 0.006, 0.011, 0.0061, 0.008, 0.0059, 0.009]
    at = [sum(gaps[:n]) for n in range(11)]
    found = train_capacity([PacketArrival(n, one) for n, one in enumerate(at)], 1500)
    assert found is not None and found.rate == pytest.approx(2e6)
    assert found.uncertainty == pytest.approx(1.96 * 0.0002 / 6**0.5 / 0.006)
    # Of uneven gaps, least squares. The fifth packet is in one bunch with the last: it is left out,
    # and the error is that of five of six. The others have the slope 41 / 14.8.
    at = [0.0, 2.0, 5.0, 10.0, 12.0, 13.0]
    found = train_capacity([PacketArrival(n, one) for n, one in enumerate(at)], 1100)
    assert found is not None and found.rate == pytest.approx(8 * 1100 * 14.8 / 41)
    rest = [at[n] - 6.0 - 41 / 14.8 * (n - 2.2) for n in (0, 1, 2, 3, 5)]
    error = (sum(one * one for one in rest) / 3 / 14.8) ** 0.5 * 6 / 5
    assert found.uncertainty == pytest.approx(1.96 * error * 14.8 / 41)


def test_the_delay_impairment_starts_at_100_ms() -> None:
    """Up to there Idd is 0: between 100 and 101 ms it is still next to nothing (G.107)."""
    x = log10(1.01) / log10(2)
    rise = 25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2)
    assert rise == pytest.approx(0.0, abs=1e-9)  # so the limit itself decides nothing
