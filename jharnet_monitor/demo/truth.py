"""Compares the measurements with what the lab knows of its links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from jharnet_monitor.lab.packet_log import EchoPacket
from jharnet_monitor.lab.spec import LinkSpec
from jharnet_monitor.model import Direction

Measured = Mapping[str, Any]
"""A measurement as the API returns it."""
Flows = Iterable[Mapping[str, Any]]
"""The lab's counters of every flow, as `lab.flows.describe_flow` gives them."""

RTT_TOLERANCE = 0.001
RATE_TOLERANCE = 0.05
LOSS_TOLERANCE = 0.003


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A measured value with the true one. All three numbers are in the quantity's unit."""

    office: str
    probe: str
    quantity: str
    measured: float | None
    truth: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether there is a value and it is within the tolerance."""
        return self.measured is not None and abs(self.measured - self.truth) <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """The row of the `--json` file."""
        return {**asdict(self), "ok": self.ok}


def latency_rows(
    measured: Measured, flows: Flows, packets: Iterable[EchoPacket]
) -> list[ComparisonRow]:
    """Median RTT and lost packets of one burst, with the emulator's record of its packets.

    The true RTT is the median over the packets of the time from the request's entry into the links
    to the exit of its reply; the true loss is the number of the flow's packets that the emulator
    dropped, both ways.
    """
    both = [f for f in flows if _is_burst(f, measured["conditions"])]
    trips = _round_trips(measured["conditions"], packets)
    if not both or not trips:
        return []
    values, office = measured["values"], measured["office"]
    dropped = sum(_dropped(f) for f in both)
    lost = values["sent"] - values["received"] if "sent" in values else None
    return [
        ComparisonRow(
            office,
            "latency",
            "rtt_p50_seconds",
            values.get("rtt_p50_seconds"),
            median(trips),
            RTT_TOLERANCE,
        ),
        ComparisonRow(office, "latency", "lost_packets", lost, dropped, 0),
    ]


def bandwidth_rows(measured: Measured, link: LinkSpec) -> list[ComparisonRow]:
    """Both directions, in bit/s, with what the line can deliver.

    That is its rate less its loss: lost packets have used the line, too.
    """
    values, office = measured["values"], measured["office"]
    rows = []
    for direction, way in ((Direction.DOWN, link.down), (Direction.UP, link.up)):
        quantity = f"{direction.transfer}_bits_per_second"
        deliverable = (way.rate or 0.0) * (1 - way.loss.mean)
        rows.append(
            ComparisonRow(office, "bandwidth", quantity, values.get(quantity), deliverable,
                RATE_TOLERANCE * deliverable)
        )  # fmt: skip
    return rows


def conference_rows(measured: Measured, flows: Flows) -> list[ComparisonRow]:
    """Packet loss of the whole call, with the emulator's count of its flow."""
    conditions, office = measured["conditions"], measured["office"]
    rows = []
    for direction, source, target in (
        (Direction.DOWN, "hub_port", "agent_port"),
        (Direction.UP, "agent_port", "hub_port"),
    ):
        ports = (conditions.get(source), conditions.get(target))
        for flow in flows:
            if flow["protocol"] == "udp" and (flow["source_port"], flow["target_port"]) == ports:
                name = f"{direction}_wire_loss_ratio"
                truth = _dropped(flow) / flow["packets_in"]
                rows.append(
                    ComparisonRow(
                        office, "conference", name, conditions.get(name), truth, LOSS_TOLERANCE
                    )
                )
    return rows


def _is_burst(flow: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether a flow is the requests or the replies of a burst."""
    address = conditions.get("address")
    return (
        flow["echo_id"] is not None
        and flow["echo_id"] == conditions.get("icmp_id")
        and address in (flow["source"], flow["target"])
    )


def _round_trips(conditions: Mapping[str, Any], packets: Iterable[EchoPacket]) -> list[float]:
    """Seconds from the request's entry into the links to the exit of its reply, if both arrived."""
    address, identifier = conditions.get("address"), conditions.get("icmp_id")
    there: dict[int, float] = {}
    trips = []
    for packet in packets:
        if packet.echo_id != identifier or packet.left is None:
            continue
        if packet.target == address:
            there[packet.sequence] = packet.arrived
        elif packet.source == address and packet.sequence in there:
            trips.append(packet.left - there.pop(packet.sequence))
    return trips


def _dropped(flow: Mapping[str, Any]) -> int:
    return int(flow["dropped_loss"] + flow["dropped_queue"] + flow["dropped_cut"])
