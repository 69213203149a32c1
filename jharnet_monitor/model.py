"""The words everyone else speaks: measurements, outcomes, causes, states, time.

This module imports nothing of ours. Everything in it is frozen: a measurement is a fact.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Outcome(StrEnum):
    """What became of a probe. Unknown is never up, never down, never 0."""

    OK = "ok"
    FAILED = "failed"
    """The network did it."""
    NO_DATA = "no_data"
    """We could not measure: no agent, host overloaded, budget spent."""


class OfficeState(StrEnum):
    """What is known of an office now, and (the last two) what becomes known afterwards."""

    UP = "up"
    UNREACHABLE = "unreachable"
    """No answer: link or power, not yet known."""
    LAN_DOWN = "lan_down"
    """The router answers, nothing behind it does, and nobody said goodbye."""
    AGENT_OFF = "agent_off"
    """The router answers; the agent said goodbye or was never there."""
    UPLINK_DOWN = "uplink_down"
    """Headquarters' own uplink is down: nothing can be said of the office."""
    MONITOR_DOWN = "monitor_down"
    PLANNED = "planned"
    UNKNOWN = "unknown"
    LINK_DOWN = "link_down"
    POWER_DOWN = "power_down"


LIVE_STATES = tuple(
    s for s in OfficeState if s not in (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN)
)
"""The states that can be known while they last."""


class Cause(StrEnum):
    """Why a measurement is not `ok`. Words for people stand in `report/words`."""

    # no_data: we could not measure
    NO_AGENT = "no_agent"
    AGENT_BUSY = "agent_busy"
    AGENT_LOST = "agent_lost"
    AGENT_TOO_OLD = "agent_too_old"
    NEEDS_PROGRAM = "needs_program"
    BUDGET_SPENT = "budget_spent"
    UPLINK_BUSY = "uplink_busy"
    HOST_OVERLOADED = "host_overloaded"
    CLOCK_STEPPED = "clock_stepped"
    NOT_SENT = "not_sent"
    NAME_NOT_RESOLVED = "name_not_resolved"
    NOT_CONFIGURED = "not_configured"
    INTERNAL_ERROR = "internal_error"
    BAD_REPORT = "bad_report"
    # failed: the network did it
    NO_REPLY = "no_reply"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    LINK_DOWN = "link_down"
    UPLINK_DOWN = "uplink_down"
    UDP_BLOCKED = "udp_blocked"
    DTLS_FAILED = "dtls_failed"
    SIGNALLING_FAILED = "signalling_failed"
    NO_MEDIA = "no_media"
    OFFLINE = "offline"
    BLOCKED = "blocked"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TLS_ERROR = "tls_error"


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one probe on one office, whoever made it.

    `started_at` is UTC. `duration` is in seconds on a monotonic clock. `conditions` say under
    what the figures were taken (`under_load`, `path`, `limited_by`, host overload ...);
    `values` hold only quantities of `QUANTITIES`, and only those that were really measured.

    >>> m = Measurement("potka", "latency", datetime(2026, 11, 25, tzinfo=UTC), 3.0, Outcome.OK,
    ...                 values={"rtt_p50_seconds": 0.041}, id="m1")
    >>> m.to_json()["values"]
    {'rtt_p50_seconds': 0.041}
    >>> Measurement.from_json(m.to_json()) == m
    True
    """

    office: str
    probe: str
    started_at: datetime
    duration: float
    outcome: Outcome
    cause: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if self.started_at.utcoffset() is None:
            raise ValueError("started_at must carry its time zone")
        object.__setattr__(self, "started_at", self.started_at.astimezone(UTC))
        object.__setattr__(self, "conditions", _frozen(self.conditions))
        object.__setattr__(self, "values", _frozen(self.values))

    def to_json(self) -> dict[str, Any]:
        """The form of the contract: what the API answers and an agent hands in."""
        return {
            "id": self.id,
            "office": self.office,
            "probe": self.probe,
            "started_at": format_utc(self.started_at),
            "duration_seconds": self.duration,
            "outcome": self.outcome.value,
            "cause": self.cause,
            "conditions": dict(self.conditions),
            "values": dict(self.values),
        }

    @property
    def path(self) -> str:
        """Which way was measured: `jharnet`, unless the conditions say otherwise."""
        return str(self.conditions.get("path", "jharnet"))

    @property
    def bytes_spent(self) -> int:
        """What it took of the office's byte budget: measured, or estimated where it broke off."""
        spent = self.values.get("bytes_spent", self.conditions.get("bytes_spent", 0))
        return int(spent)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read the contract's form; raises `ValueError` that names what is wrong."""
        try:
            measurement = cls(
                office=_text(data, "office"),
                probe=_text(data, "probe"),
                started_at=parse_utc(_text(data, "started_at")),
                duration=float(data["duration_seconds"]),
                outcome=Outcome(data["outcome"]),
                cause=None if data.get("cause") is None else _text(data, "cause"),
                conditions=data.get("conditions") or {},
                values={str(k): float(v) for k, v in (data.get("values") or {}).items()},
                id=_text(data, "id"),
            )
            json.dumps(dict(measurement.conditions), ensure_ascii=False, allow_nan=False).encode()
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a measurement: {error!r}") from error
        if not all(map(math.isfinite, (measurement.duration, *measurement.values.values()))):
            raise ValueError("figures must be finite numbers")
        unknown = set(measurement.values) - set(QUANTITY_NAMES.get(measurement.probe, ()))
        if unknown:
            raise ValueError(f"{measurement.probe} has no quantity {', '.join(sorted(unknown))}")
        return measurement


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ValueError(f"{key} must be a text of 1 to 200 printable characters")
    return value


def format_utc(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`; sorts as text the way it sorts in time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """Read an ISO 8601 moment with its zone; raises `ValueError` where the zone is missing."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(f"{text!r} has no time zone; write it as 2026-11-25T06:00:00Z")
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Label:
    """One phrase in both languages of the office."""

    en: str
    hi: str

    def in_(self, language: str) -> str:
        """The phrase in `en` or `hi`."""
        return self.hi if language == "hi" else self.en


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing a probe measures: the only place where its name, unit and words are spelled."""

    probe: str
    name: str
    unit: str
    help: str
    label: Label


def _ways(probe: str, name: str, unit: str, help_: str, label: Label) -> tuple[Quantity, Quantity]:
    """The same quantity towards the office (`down_`) and from it (`up_`)."""
    return (
        Quantity(
            probe,
            f"down_{name}",
            unit,
            f"{help_}, towards the office",
            Label(f"{label.en}, towards office", f"{label.hi}, कार्यालय की ओर"),
        ),
        Quantity(
            probe,
            f"up_{name}",
            unit,
            f"{help_}, from the office",
            Label(f"{label.en}, from office", f"{label.hi}, कार्यालय से"),
        ),
    )


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("latency", "sent", "packets", "Echo requests sent",
             Label("Packets sent", "भेजे गए पैकेट")),
    Quantity("latency", "received", "packets", "Echo replies received in time",
             Label("Replies received", "प्राप्त उत्तर")),
    Quantity("latency", "loss_ratio", "ratio", "Share of echo requests without a reply in time",
             Label("Packet loss", "पैकेट हानि")),
    Quantity("latency", "rtt_min_seconds", "seconds", "Smallest round-trip time",
             Label("Latency, smallest", "न्यूनतम विलंबता (लेटेंसी)")),
    Quantity("latency", "rtt_p50_seconds", "seconds", "Median round-trip time",
             Label("Latency, median", "माध्यिका विलंबता (लेटेंसी)")),
    Quantity("latency", "rtt_p95_seconds", "seconds", "95th percentile of the round-trip time",
             Label("Latency, 95 % within", "विलंबता, 95 % इसके भीतर")),
    Quantity("latency", "rtt_max_seconds", "seconds", "Largest round-trip time",
             Label("Latency, largest", "अधिकतम विलंबता")),
    Quantity("latency", "jitter_seconds", "seconds",
             "Interarrival jitter (RFC 3550, 6.4.1) over round-trip times",
             Label("Jitter", "जिटर (विलंबता में उतार-चढ़ाव)")),
    Quantity("latency", "pdv_seconds", "seconds",
             "Packet delay variation (RFC 5481): 95th percentile of RTT - smallest RTT",
             Label("Delay variation", "विलंबता विचलन (PDV)")),
    Quantity("bandwidth", "download_bits_per_second", "bits_per_second",
             "IP rate delivered towards the office (goodput x 1500/1448)",
             Label("Download speed", "डाउनलोड गति")),
    Quantity("bandwidth", "upload_bits_per_second", "bits_per_second",
             "IP rate delivered from the office (goodput x 1500/1448)",
             Label("Upload speed", "अपलोड गति")),
    Quantity("bandwidth", "idle_rtt_seconds", "seconds", "Median round-trip time before the test",
             Label("Latency, idle", "विलंबता, खाली लिंक पर")),
    Quantity("bandwidth", "download_loaded_rtt_seconds", "seconds",
             "Mean round-trip time while the download ran",
             Label("Latency during download", "डाउनलोड के समय विलंबता")),
    Quantity("bandwidth", "upload_loaded_rtt_seconds", "seconds",
             "Mean round-trip time while the upload ran",
             Label("Latency during upload", "अपलोड के समय विलंबता")),
    Quantity("bandwidth", "download_capacity_bits_per_second", "bits_per_second",
             "What the line can carry towards the office, estimated by a packet train (IP rate)",
             Label("Line capacity, towards office", "लिंक क्षमता, कार्यालय की ओर")),
    Quantity("bandwidth", "upload_capacity_bits_per_second", "bits_per_second",
             "What the line can carry from the office, estimated by a packet train (IP rate)",
             Label("Line capacity, from office", "लिंक क्षमता, कार्यालय से")),
    Quantity("bandwidth", "bytes_spent", "bytes", "Bytes the test put on the line, both ways",
             Label("Test data used", "परीक्षण में प्रयुक्त डाटा")),
    Quantity("conference", "grade", "grade",
             "4 HD (720p), 3 SD (360p), 2 low video (180p), 1 audio only, 0 no conference",
             Label("Conference grade", "कॉन्फ्रेंस श्रेणी")),
    Quantity("conference", "setup_seconds", "seconds", "From the offer to the first media packet",
             Label("Call set-up time", "कॉल जुड़ने का समय")),
    Quantity("conference", "rtt_p95_seconds", "seconds",
             "95th percentile of the round-trip time in the call (RTCP)",
             Label("Latency in the call, 95 % within", "कॉल में विलंबता, 95 % इसके भीतर")),
    *_ways("conference", "video_loss_ratio", "ratio",
           "Share of video packets whose first transmission never arrived",
           Label("Video loss", "वीडियो हानि")),
    *_ways("conference", "audio_loss_ratio", "ratio", "Share of audio packets that never arrived",
           Label("Audio loss", "ऑडियो हानि")),
    *_ways("conference", "frames_per_second", "frames_per_second", "Presentable frames a second",
           Label("Frames per second", "फ्रेम प्रति सेकंड")),
    *_ways("conference", "freeze_ratio", "ratio", "Share of the call with the picture frozen",
           Label("Picture frozen", "चित्र जमा रहा")),
    *_ways("conference", "audio_mos", "mos", "Voice quality MOS (ITU-T G.107), 1 to 4.5",
           Label("Voice quality (MOS)", "ध्वनि गुणवत्ता (MOS)")),
    *_ways("conference", "video_mos", "mos",
           "Video quality (ITU-T G.1070), 1 to 5; only where the model holds",
           Label("Video quality", "वीडियो गुणवत्ता")),
    *_ways("conference", "bits_per_second", "bits_per_second", "Media delivered, as IP rate",
           Label("Media rate", "मीडिया दर")),
    *_ways("conference", "height", "pixels", "Height of the picture that the link held",
           Label("Picture height", "चित्र की ऊँचाई")),
)  # fmt: skip
"""Every quantity. Metric names, CSV columns, report headings and the API come from it."""

QUANTITY_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        probe: tuple(q.name for q in QUANTITIES if q.probe == probe)
        for probe in dict.fromkeys(q.probe for q in QUANTITIES)
    }
)
"""Names of the quantities, by probe, in the order of the table."""


def quantity(probe: str, name: str) -> Quantity:
    """The entry of `QUANTITIES`; raises `KeyError` where there is none.

    >>> quantity("latency", "loss_ratio").unit
    'ratio'
    """
    for entry in QUANTITIES:
        if (entry.probe, entry.name) == (probe, name):
            return entry
    raise KeyError(f"{probe} has no quantity {name}")
