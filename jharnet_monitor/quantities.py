"""The table of all measured quantities, with units and labels.

Metric names, columns of raw data, labels on pages and the API are derived from it; the report has
its own headings. This module imports nothing of the package; other modules use it through `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Label:
    """A label in English and Hindi."""

    en: str
    hi: str

    def in_(self, language: str) -> str:
        """The label in `en` or `hi`."""
        return self.hi if language == "hi" else self.en


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity that a probe measures."""

    probe: str
    name: str
    unit: str
    help: str
    label: Label
    bounds: tuple[float, float] | None = None
    """The smallest and largest possible value, if not those of the unit."""

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest possible value; a report of any other value is wrong.

        >>> quantity("latency", "loss_ratio").range
        (0.0, 1.0)
        """
        return self.bounds or _RANGES[self.unit]

    @property
    def direction(self) -> str | None:
        """`down` towards the office, `up` from it; None if it has no direction."""
        return _DIRECTIONS.get(self.name.partition("_")[0])

    @property
    def stem(self) -> str:
        """The name without its direction."""
        return self.name.partition("_")[2] if self.direction else self.name

    @property
    def metric(self) -> str:
        """Name of the Prometheus family without its prefix; the direction becomes a label.

        >>> quantity("bandwidth", "upload_bits_per_second").metric
        'bandwidth_bytes_per_second'
        """
        return f"{self.probe}_{self.stem.replace('bits_per_second', 'bytes_per_second')}"

    @property
    def metric_scale(self) -> float:
        """Factor from a value to its metric, since Prometheus counts data in bytes."""
        return 1 / 8 if self.unit == "bits_per_second" else 1.0


_RANGES: Mapping[str, tuple[float, float]] = {
    "packets": (0.0, 1e6),
    "count": (0.0, 1e6),
    "ratio": (0.0, 1.0),
    "seconds": (0.0, 600.0),
    "bits_per_second": (0.0, 1e12),
    "bytes": (0.0, 1e12),
    "grade": (0.0, 4.0),
    "frames_per_second": (0.0, 240.0),
    "mos": (1.0, 5.0),
    "pixels": (0.0, 8640.0),
    "status": (100.0, 999.0),
}
"""Limits by unit that no correct report exceeds, far above what a district's lines can carry."""
_MONTH_SECONDS = 31 * 86400.0
_CENTURY_SECONDS = 100 * 365.25 * 86400.0

_DIRECTIONS = {"down": "down", "download": "down", "up": "up", "upload": "up"}


def _both(probe: str, name: str, unit: str, help_: str, label: Label) -> tuple[Quantity, Quantity]:
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
             Label("Latency, 95th percentile", "विलंबता, 95वाँ परसेंटाइल")),
    Quantity("latency", "rtt_max_seconds", "seconds", "Largest round-trip time",
             Label("Latency, largest", "अधिकतम विलंबता")),
    Quantity("latency", "jitter_seconds", "seconds",
             "Interarrival jitter (RFC 3550, 6.4.1) over round-trip times",
             Label("Jitter", "जिटर (विलंबता में उतार-चढ़ाव)")),
    Quantity("latency", "pdv_seconds", "seconds",
             "Packet delay variation (RFC 5481): 95th percentile of RTT - smallest RTT",
             Label("Delay variation", "विलंबता विचलन (PDV)")),
    Quantity("bandwidth", "download_bits_per_second", "bits_per_second",
             "IP rate delivered towards the office (payload with its headers)",
             Label("Download speed", "डाउनलोड गति")),
    Quantity("bandwidth", "upload_bits_per_second", "bits_per_second",
             "IP rate delivered from the office (payload with its headers)",
             Label("Upload speed", "अपलोड गति")),
    Quantity("bandwidth", "download_bits_per_second_low", "bits_per_second",
             "Lower end of the 95 % interval of the download; nothing below it is likely",
             Label("Download speed, at least", "डाउनलोड गति, कम-से-कम")),
    Quantity("bandwidth", "download_bits_per_second_high", "bits_per_second",
             "Upper end of the 95 % interval of the download; absent where nothing bounds it",
             Label("Download speed, at most", "डाउनलोड गति, अधिक-से-अधिक")),
    Quantity("bandwidth", "download_sustained_bits_per_second", "bits_per_second",
             "IP rate that the line carries towards the office once a burst is spent",
             Label("Download speed, sustained", "डाउनलोड गति, निरंतर")),
    Quantity("bandwidth", "download_sustained_bits_per_second_low", "bits_per_second",
             "Lower end of the 95 % interval of the sustained rate",
             Label("Download speed, sustained, at least", "डाउनलोड गति, निरंतर, कम-से-कम")),
    Quantity("bandwidth", "download_sustained_bits_per_second_high", "bits_per_second",
             "Upper end of the 95 % interval of the sustained rate; absent where nothing bounds it",
             Label("Download speed, sustained, at most", "डाउनलोड गति, निरंतर, अधिक-से-अधिक")),
    Quantity("bandwidth", "upload_bits_per_second_low", "bits_per_second",
             "Lower end of the 95 % interval of the upload; nothing below it is likely",
             Label("Upload speed, at least", "अपलोड गति, कम-से-कम")),
    Quantity("bandwidth", "upload_bits_per_second_high", "bits_per_second",
             "Upper end of the 95 % interval of the upload; absent where nothing bounds it",
             Label("Upload speed, at most", "अपलोड गति, अधिक-से-अधिक")),
    Quantity("bandwidth", "upload_sustained_bits_per_second", "bits_per_second",
             "IP rate that the line carries from the office once a burst is spent",
             Label("Upload speed, sustained", "अपलोड गति, निरंतर")),
    Quantity("bandwidth", "upload_sustained_bits_per_second_low", "bits_per_second",
             "Lower end of the 95 % interval of the sustained rate",
             Label("Upload speed, sustained, at least", "अपलोड गति, निरंतर, कम-से-कम")),
    Quantity("bandwidth", "upload_sustained_bits_per_second_high", "bits_per_second",
             "Upper end of the 95 % interval of the sustained rate; absent where nothing bounds it",
             Label("Upload speed, sustained, at most", "अपलोड गति, निरंतर, अधिक-से-अधिक")),
    Quantity("bandwidth", "idle_rtt_seconds", "seconds", "Median round-trip time before the test",
             Label("Latency, idle", "खाली लाइन पर विलंबता")),
    Quantity("bandwidth", "download_loaded_rtt_seconds", "seconds",
             "Mean round-trip time while the download ran",
             Label("Latency during download", "डाउनलोड के समय विलंबता")),
    Quantity("bandwidth", "upload_loaded_rtt_seconds", "seconds",
             "Mean round-trip time while the upload ran",
             Label("Latency during upload", "अपलोड के समय विलंबता")),
    Quantity("bandwidth", "download_capacity_bits_per_second", "bits_per_second",
             "What the line can carry towards the office, estimated by a packet train (IP rate)",
             Label("Line capacity, towards office", "लाइन की क्षमता, कार्यालय की ओर")),
    Quantity("bandwidth", "upload_capacity_bits_per_second", "bits_per_second",
             "What the line can carry from the office, estimated by a packet train (IP rate)",
             Label("Line capacity, from office", "लाइन की क्षमता, कार्यालय से")),
    Quantity("bandwidth", "bytes_spent", "bytes", "Bytes the test sent, in both directions",
             Label("Test data used", "जाँच में प्रयुक्त डाटा")),
    Quantity("conference", "grade", "grade",
             "4 HD (720p), 3 SD (360p), 2 low-quality video (180p), 1 audio only, 0 no conference",
             Label("Conference grade", "कॉन्फ्रेंस श्रेणी")),
    *(
        Quantity("conference", f"grade_{grade}_probability", "ratio",
                 f"How probable grade {grade} is, by simulated calls over the measured line",
                 Label(f"Probability of grade {grade}", f"श्रेणी {grade} की प्रायिकता"))
        for grade in range(5)
    ),
    Quantity("conference", "setup_seconds", "seconds", "From the offer to the first media packet",
             Label("Call set-up time", "कॉल जुड़ने का समय")),
    Quantity("conference", "rtt_p95_seconds", "seconds",
             "95th percentile of the round-trip time in the call (RTCP); none if a computer was "
             "too busy to tell",
             Label("Latency in the call, 95th percentile", "कॉल में विलंबता, 95वाँ परसेंटाइल")),
    *_both("conference", "video_loss_ratio", "ratio",
           "Share of video packets whose first transmission never arrived",
           Label("Video packet loss", "वीडियो पैकेट हानि")),
    *_both("conference", "audio_loss_ratio", "ratio", "Share of audio packets that never arrived",
           Label("Audio packet loss", "ऑडियो पैकेट हानि")),
    *_both("conference", "frames_per_second", "frames_per_second", "Presentable frames a second",
           Label("Frames per second", "फ्रेम प्रति सेकंड")),
    *_both("conference", "freeze_ratio", "ratio", "Share of the call with the picture frozen",
           Label("Picture frozen", "चित्र रुके रहने का अनुपात")),
    *_both("conference", "audio_mos", "mos", "Voice quality MOS (ITU-T G.107), 1 to 4.5",
           Label("Voice quality (MOS)", "ध्वनि गुणवत्ता (MOS)")),
    *_both("conference", "video_mos", "mos",
           "Video quality (ITU-T G.1070), 1 to 5; only where the model holds",
           Label("Video quality", "वीडियो गुणवत्ता")),
    *_both("conference", "bits_per_second", "bits_per_second", "Media delivered, as IP rate",
           Label("Media rate", "मीडिया दर")),
    *_both("conference", "height", "pixels", "Height of the picture that the link held",
           Label("Picture height", "चित्र की ऊँचाई")),
    Quantity("service", "dns_seconds", "seconds", "Time to resolve the service's name",
             Label("Name server", "नेम सर्वर का समय")),
    Quantity("service", "connect_seconds", "seconds", "Time to connect by TCP",
             Label("Connection (TCP)", "संपर्क का समय (TCP)")),
    Quantity("service", "tls_seconds", "seconds", "Time of the TLS handshake",
             Label("Encryption set up (TLS)", "कूट-संपर्क का समय (TLS)")),
    Quantity("service", "first_byte_seconds", "seconds",
             "Time from the connection until the answer's headers have arrived",
             Label("Wait for first byte", "पहले बाइट की प्रतीक्षा")),
    Quantity("service", "answer_seconds", "seconds",
             "Time until the answer's headers have arrived, measured by a browser, which reports "
             "no phases", Label("Time to answer (browser)", "उत्तर का समय (ब्राउज़र)")),
    Quantity("service", "total_seconds", "seconds",
             "Time for the whole page: the phases above and the page's transfer",
             Label("Whole page", "पूरा पृष्ठ")),
    Quantity("service", "bytes", "bytes", "Bytes of the page as they came over the line",
             Label("Size of page", "पृष्ठ का आकार")),
    Quantity("service", "status_code", "status", "HTTP status of the answer",
             Label("HTTP status", "HTTP स्थिति")),
    Quantity("service", "certificate_expiry_seconds", "seconds",
             "Time until the service's certificate expires; negative once it has",
             Label("Certificate valid for", "प्रमाणपत्र की शेष वैधता"),
             (-_CENTURY_SECONDS, _CENTURY_SECONDS)),
    Quantity("path", "hops", "count", "Routers on the way to the office, with the target itself",
             Label("Hops to office", "कार्यालय तक के पड़ाव")),
    Quantity("path", "loss_ratio", "ratio", "Share of the trace's packets that the office's end "
             "did not answer", Label("Packet loss on the way", "मार्ग पर पैकेट हानि")),
    Quantity("path", "rtt_p50_seconds", "seconds", "Median round-trip time of the trace's packets",
             Label("Latency of the way, median", "मार्ग की विलंबता, माध्यिका")),
    Quantity("path", "mtu_bytes", "bytes", "Largest IP packet that passes the way in one piece",
             Label("Largest packet", "सबसे बड़ा पैकेट"), (68.0, 65_535.0)),
    Quantity("utilisation", "download_bits_per_second", "bits_per_second",
             "Mean IP rate of all traffic on the router's interface, towards the office",
             Label("Traffic towards office", "कार्यालय की ओर ट्रैफिक")),
    Quantity("utilisation", "upload_bits_per_second", "bits_per_second",
             "Mean IP rate of all traffic on the router's interface, from the office",
             Label("Traffic from office", "कार्यालय से ट्रैफिक")),
    Quantity("utilisation", "download_error_ratio", "ratio",
             "Share of packets that were damaged on the line's interface, towards the office",
             Label("Damaged packets, towards office", "क्षतिग्रस्त पैकेट, कार्यालय की ओर")),
    Quantity("utilisation", "upload_error_ratio", "ratio",
             "Share of packets that were damaged on the line's interface, from the office",
             Label("Damaged packets, from office", "क्षतिग्रस्त पैकेट, कार्यालय से")),
    Quantity("utilisation", "download_discard_ratio", "ratio",
             "Share of packets discarded on the line's interface, towards the office",
             Label("Discarded packets, towards office", "छोड़े गए पैकेट, कार्यालय की ओर")),
    Quantity("utilisation", "upload_discard_ratio", "ratio",
             "Share of packets discarded on the line's interface, from the office",
             Label("Discarded packets, from office", "छोड़े गए पैकेट, कार्यालय से")),
    Quantity("utilisation", "lan_error_ratio", "ratio",
             "Share of packets that were damaged in the office's own network, the worse direction",
             Label("Damaged packets in office network",
                   "कार्यालय के आंतरिक नेटवर्क में क्षतिग्रस्त पैकेट")),
    Quantity("utilisation", "window_seconds", "seconds",
             "Time up to the reading over which the rates are the mean",
             Label("Measured over", "मापन की अवधि"), (0.0, _MONTH_SECONDS)),
    Quantity("utilisation", "router_uptime_seconds", "seconds",
             "Time for which the router has been running, at least",
             Label("Router running for", "राउटर चालू रहने की अवधि"), (0.0, _CENTURY_SECONDS)),
)  # fmt: skip
"""All quantities."""

QUANTITY_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        probe: tuple(q.name for q in QUANTITIES if q.probe == probe)
        for probe in dict.fromkeys(q.probe for q in QUANTITIES)
    }
)
"""Names of the quantities by probe, in the order of the table."""

_BY_NAME = {(q.probe, q.name): q for q in QUANTITIES}


def out_of_range(probe: str, values: Mapping[str, float]) -> list[str]:
    """Messages for the values that are out of range, each with its range; NaN is in no range.

    >>> out_of_range("latency", {"loss_ratio": 1.5, "sent": 20.0})
    ['loss_ratio 1.5 is not from 0 to 1']
    """
    wrong = []
    for name, value in values.items():
        known = _BY_NAME.get((probe, name))
        if known is not None and not known.range[0] <= value <= known.range[1]:
            low, high = known.range
            wrong.append(f"{name} {value:g} is not from {low:g} to {high:g}")
    return wrong


def quantity(probe: str, name: str) -> Quantity:
    """Look up an entry of `QUANTITIES`; raises `KeyError` if there is none.

    >>> quantity("latency", "loss_ratio").unit
    'ratio'
    """
    if (probe, name) not in _BY_NAME:
        raise KeyError(f"{probe} has no quantity {name}")
    return _BY_NAME[probe, name]
