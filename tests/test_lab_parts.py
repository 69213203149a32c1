"""The parts of the lab that need no root: lab files, pipes, packets, layout, packet log."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import LabSpec, LinkDirection, Loss, parse_spec
from jharnet_monitor.lab.flows import histogram_percentile
from jharnet_monitor.lab.layout import Layout
from jharnet_monitor.lab.packet_log import CAPACITY, PacketLogWriter, read_packet_log
from jharnet_monitor.lab.packets import (
    FlowName,
    destination,
    echo_reply,
    echo_sequence,
    flow_key,
    flow_name,
)
from jharnet_monitor.lab.pipe import CUT, LINK_CUT, LOST, QUEUE_FULL, Pipe, loss_model
from jharnet_monitor.lab.routes import GATEWAY
from jharnet_monitor.lab.spec import parse_setting

LAB_FILE = Path(__file__).parent.parent / "config" / "lab.yaml"
LAYOUT = Layout("jhnx", ("potka", "boram"))


def direction(**keys: object) -> LinkDirection:
    """A direction with the keys of a lab file."""
    return LinkDirection.model_validate(keys)


# Lab files

BAD_FILES = [
    ("offices: {potka: {down: {dalay: 20ms}}}", "1: offices.potka.down.dalay", "`delay`"),
    ("offices: {potka: {down: {delay: 20}}}", "1: offices.potka.down.delay", "20"),
    ("offices: {potka: {down: {rate: 4 MBit/s}}}", "1: offices.potka.down.rate", "Mbit/s"),
    ("offices: {potka: {down: {rate: 0 Mbit/s}}}", "1: offices.potka.down.rate", "more than 0"),
    ("offices:\n  potka:\n    up: {loss: 101%}", "3: offices.potka.up.loss", "100%"),
    ("offices:\n  a:\n    up: {loss: {mean: 1%, brust: 4}}", "3: offices.a.up.loss.brust", "burst"),
    ("offices: {a: {up: {loss: {mean: 90%, burst: 2}}}}", "1: offices.a.up.loss", "lengthen"),
    ("offices: {a: {up: {delay: 1ms, jitter: 2ms}}}", "1: offices.a.up", "`jitter`"),
    ("offices: {a: {blackouts: [{at: 60s}]}}", "1: offices.a.blackouts[0].for", "missing"),
    (
        "offices: {a: {blackouts: [{at: 60s, for: 2s, every: 1s}]}}",
        "1: offices.a.blackouts[0]",
        "`every`",
    ),
    ("offices: {Potka: {}}", "1: offices.Potka", "lower-case letters"),
    ("offices: {uplink: {}}", "1: ", "`uplink`"),
    ("offices: {}", "1: offices", "at least 1"),
    ("uplink: {}", "1: offices", "missing"),
    ("offices: {a: {}}\nuplnk: {}", "2: uplnk", "`uplink`"),
    ("", "", "empty"),
    ("offices:\n\tpotka: {}", "2: ", "tab"),
]


@pytest.mark.parametrize(("text", "where", "remedy"), BAD_FILES)
def test_bad_lab_file_is_one_line(tmp_path: Path, text: str, where: str, remedy: str) -> None:
    """An error is one line with the file, the line, the key path and the remedy."""
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_yaml_model(path, LabSpec)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:{where}")
    assert remedy in message


def test_shipped_lab_file_has_the_eleven_offices() -> None:
    """The example is valid, and its dump can be read back."""
    spec = load_yaml_model(LAB_FILE, LabSpec)
    assert len(spec.offices) == 11
    assert spec.offices["dhalbhumgarh"].down.loss == Loss(mean="2.5%", burst=4)  # type: ignore[arg-type]
    assert parse_spec(spec.model_dump(by_alias=True)) == spec


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("down.los=2%", "delay, jitter, loss, rate, queue"),
        ("loss=2%", "`down.loss=2%`"),
        ("down.loss", "`down.loss=2%`"),
        ("down.loss=2", "unit"),
        ("down.loss={mean: 2%", "not a value"),
        ("down.loss=!!bool x", "not a value"),
        ("down.loss=0b_", "not a value"),
        ("down.rate=fast", "10 Mbit/s"),
        ("down.jitter=1s", "`jitter`"),
    ],
)
def test_bad_setting_is_refused(setting: str, remedy: str) -> None:
    """The error of `lab set` names the remedy."""
    with pytest.raises(UserError, match=remedy.replace("`", ".")):
        _, key, value = parse_setting(setting)
        direction(delay="20ms").changed(key, value)


# Pipes


def test_pipe_has_a_rate_and_a_queue() -> None:
    """Packets leave at the rate; one that would wait longer than the queue is dropped."""
    pipe = Pipe("p", direction(delay="10ms", rate="1 Mbit/s", queue="55ms"), seed=1)
    results = [pipe.admit(100.0, 1250) for _ in range(8)]  # 10 ms each at 1 Mbit/s
    assert results[:6] == pytest.approx([100.02, 100.03, 100.04, 100.05, 100.06, 100.07])
    assert results[6:] == [QUEUE_FULL, QUEUE_FULL]
    counters = pipe.counters()
    assert counters["dropped_queue"] == 2
    assert counters["queue_max_ms"] == pytest.approx(50)
    assert counters["queue_mean_ms"] == pytest.approx(25)


def test_pipe_jitter_is_bounded_and_keeps_order() -> None:
    """The delay is uniform within delay ± jitter, and packets never overtake each other."""
    pipe = Pipe("p", direction(delay="20ms", jitter="5ms"), seed=1)
    took = [pipe.admit(float(now), 100) - now for now in range(4000)]
    assert min(took) >= 0.015
    assert max(took) <= 0.025
    assert sum(took) / len(took) == pytest.approx(0.020, abs=0.0002)
    close = [pipe.admit(5000 + number * 1e-4, 100) for number in range(1000)]
    assert close == sorted(close)


def test_cut_pipe_drops_everything() -> None:
    """Packets at a cut line are counted as cut, not as loss or queue drops."""
    pipe = Pipe("p", direction(), seed=1)
    pipe.blocked |= LINK_CUT
    assert pipe.admit(0.0, 100) == CUT
    assert pipe.counters()["dropped_cut"] == 1


@pytest.mark.parametrize(("mean", "burst"), [(0.01, None), (0.3, None), (0.02, 4), (0.1, 10)])
def test_loss_is_as_set(mean: float, burst: float | None) -> None:
    """Loss ratio and burst length are as configured, within four standard errors."""
    lose = loss_model(Loss.model_construct(mean=mean, burst=burst), Random(7))
    assert lose is not None
    n = 400_000
    lost = [lose() for _ in range(n)]
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    length = sum(lost) / bursts
    expected = burst or 1 / (1 - mean)
    memory = 1 - 1 / expected - mean / (1 - mean) / expected
    error = (mean * (1 - mean) / n * (1 + memory) / (1 - memory)) ** 0.5
    assert sum(lost) / n == pytest.approx(mean, abs=4 * error)
    assert length == pytest.approx(expected, abs=4 * expected / bursts**0.5)


def test_the_seed_determines_all_draws() -> None:
    """The same seed gives the same losses and delays, another seed gives others."""

    def run(seed: int) -> list[float]:
        pipe = Pipe("p", direction(delay="5ms", jitter="1ms", loss="20%"), seed)
        return [pipe.admit(float(now), 100) for now in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert LOST in run(1)


# Packets


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 for data with a correct checksum inside."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo4(payload: bytes) -> bytes:
    """An IPv4 echo request from headquarters to the gateway."""
    icmp = struct.pack("!BBHHH", 8, 0, 0, 77, 3) + payload
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    source, target = ip_address("10.8.0.2").packed, ip_address("10.8.0.1").packed
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0) + source + target + icmp
    )


def echo6(payload: bytes) -> bytes:
    """An IPv6 echo request from headquarters to the gateway."""
    addresses = ip_address("fd00:8::2").packed + ip_address("fd00:8::1").packed
    icmp = struct.pack("!BBHHH", 128, 0, 0, 77, 3) + payload
    pseudo = addresses + struct.pack("!II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack("!H", checksum(pseudo + icmp)) + icmp[4:]
    return struct.pack("!IHBB", 0x60000000, len(icmp), 58, 64) + addresses + icmp


@given(st.binary(max_size=100).map(lambda data: data[: len(data) // 2 * 2]))
def test_echo_replies_have_correct_checksums(payload: bytes) -> None:
    """The emulator's echo replies have correct checksums for any payload."""
    reply = echo_reply(echo4(payload))
    assert reply is not None
    assert checksum(reply[20:]) == 0
    assert flow_name(flow_key(reply)) == FlowName("icmp", "10.8.0.1", "10.8.0.2", None, None, 77)
    reply6 = echo_reply(echo6(payload))
    assert reply6 is not None
    assert checksum(reply6[8:40] + struct.pack("!II", len(reply6) - 40, 58) + reply6[40:]) == 0
    assert echo_sequence(flow_key(reply6), reply6) == 3


@given(st.binary(max_size=80), st.sampled_from([None, 0x45, 0x46, 0x60]))
def test_parsers_accept_any_packet(packet: bytes, first: int | None) -> None:
    """No bytes that a program may write to a raw socket make a parser raise."""
    if first is not None and packet:
        packet = bytes([first]) + packet[1:]
    target = destination(packet)
    route = LAYOUT.route(1, target)
    assert target or route is None
    if target:
        key = flow_key(packet)
        flow_name(key)
        echo_sequence(key, packet)
        echo_reply(packet)


# Layout, histograms, packet log


@pytest.mark.parametrize(
    ("source", "target", "route"),
    [
        (0, "10.8.1.10", ((1, 2), 1)),
        (0, "fd00:8:2::1", ((1, 4), 2)),
        (0, "10.16.11.254", ((1, 4), 2)),
        (1, "10.8.0.2", ((3, 0), 0)),
        (1, "fd00:8::1", ((3,), GATEWAY)),
        (1, "10.8.2.1", ((3, 4), 2)),
        (GATEWAY, "10.8.1.10", ((2,), 1)),
        (1, "10.8.1.10", None),
        (0, "10.8.3.1", None),
        (0, "10.8.0.9", None),
        (0, "192.0.2.1", None),
        (0, "ff02::1", None),
    ],
)
def test_routes(source: int, target: str, route: object) -> None:
    """Packets pass the up pipe of their source and the down pipe of their destination."""
    assert LAYOUT.route(source, ip_address(target).packed) == route


def test_invalid_prefixes_are_refused() -> None:
    """A prefix with a hyphen is refused, since `jhn` would match the namespaces of `jhn-two`."""
    for prefix in ("jhn-two", "", "x" * 9, "../etc"):
        with pytest.raises(UserError, match="prefix"):
            Layout.of(parse_spec({"offices": {"potka": {}}}), prefix)


def test_histogram_percentile() -> None:
    """The result is the middle of a bucket, and None for an empty histogram."""
    assert histogram_percentile({0: 50, 10: 49, 1000: 1}, 0.5, per_second=1000) == 0.5
    assert histogram_percentile({0: 50, 10: 49, 1000: 1}, 0.99, per_second=1000) == 10.5
    assert histogram_percentile({}, 0.5) is None


def test_packet_log_keeps_the_newest_records(tmp_path: Path) -> None:
    """Records are read back as written; in a full ring the oldest are overwritten."""
    path = tmp_path / "ring"
    log = PacketLogWriter(path)
    key = flow_key(echo4(b""))
    log.write(key, 3, 1.0, 1.5, 1.75)
    log.write(key, 4, 2.0, 0.0, 0.0)
    first, second = read_packet_log(path)
    assert (first.source, first.target, first.echo_id, first.sequence) == (
        *("10.8.0.2", "10.8.0.1"),
        *(77, 3),
    )
    assert (first.arrived, first.due, first.left) == (1.0, 1.5, 1.75)
    assert second.left is None
    for number in range(2, CAPACITY + 10):
        log.write(key, number & 0xFFFF, float(number), 1.0, 1.0)
    numbers = [packet.number for packet in read_packet_log(path)]
    assert numbers == list(range(numbers[0], CAPACITY + 10))
    assert all(packet.arrived == packet.number for packet in read_packet_log(path, CAPACITY))
