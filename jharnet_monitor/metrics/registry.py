"""The registry behind `/metrics`: the live state, the process and whatever else registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from jharnet_monitor.clock import Clock
from jharnet_monitor.live import Live
from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.reading import FamilyReading, read_families
from jharnet_monitor.metrics.text import TextWriter, base_name
from jharnet_monitor.probes.families import Family, OfficeFamily

ERRORS_FAMILY = Family(
    "metrics_errors_total",
    "counter",
    "Readings of a metric that failed, and so were left out",
    lambda _: (),  # counted by the collector itself
)
_EOF = b"# EOF\n"


class LiveCollector:
    """A prometheus-client collector over the live state; nothing is kept between scrapes."""

    def __init__(
        self,
        live: Live,
        clock: Clock,
        office_families: tuple[OfficeFamily, ...] = OFFICE_FAMILIES,
    ) -> None:
        self._live = live
        self._clock = clock
        self._office_families = office_families
        self._errors = 0

    def readings(self) -> list[FamilyReading]:
        """Every family's samples now, and the number of readings that have failed so far."""
        readings, errors = read_families(self._live, self._clock.now(), self._office_families)
        self._errors += errors
        return [*readings, FamilyReading(ERRORS_FAMILY, [("_total", (), self._errors)])]

    def describe(self) -> Iterable[Metric]:
        """All families without samples, so that a registry knows the names without collecting."""
        families: tuple[Family | OfficeFamily, ...] = (
            *DISTRICT_FAMILIES,
            *self._office_families,
            ERRORS_FAMILY,
        )
        return (_metric(FamilyReading(family, [])) for family in families)

    def collect(self) -> Iterable[Metric]:
        """The families that have samples, as prometheus-client's objects."""
        return (_metric(reading) for reading in self.readings() if reading.rows)


class MetricsRegistry(CollectorRegistry):
    """A registry with the live state and the process, which takes snapshots for a scrape."""

    def __init__(self, live: Live, clock: Clock) -> None:
        super().__init__()
        self._live_collector = LiveCollector(live, clock)
        self._writer = TextWriter()
        self._others: list[Collector] = []
        super().register(self._live_collector)
        ProcessCollector(registry=self)
        PlatformCollector(registry=self)

    def register(self, collector: Collector) -> None:
        """Add another collector to the scrape."""
        super().register(collector)
        self._others.append(collector)

    def unregister(self, collector: Collector) -> None:
        """Remove a collector."""
        super().unregister(collector)
        self._others.remove(collector)

    def snapshot(self) -> Snapshot:
        """Read the whole live state now; call it in the thread that changes the live state."""
        return Snapshot(self._live_collector.readings(), tuple(self._others), self._writer)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The samples of one scrape, not yet written as text: `encode` may run in another thread."""

    readings: list[FamilyReading]
    others: tuple[Collector, ...]
    writer: TextWriter

    def encode(self, accept: str) -> tuple[bytes, str]:
        """The response's body and content type, as the scraper's `Accept` header asks."""
        encoder, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        ours = self.writer.write(self.readings, openmetrics).encode()
        theirs: bytes = encoder(self)
        if openmetrics:
            return ours + theirs.removesuffix(_EOF) + _EOF, content_type
        return ours + theirs, content_type

    def collect(self) -> Iterator[Metric]:
        """The other collectors' metrics, for prometheus-client's writer."""
        for collector in self.others:
            yield from collector.collect()


def _metric(reading: FamilyReading) -> Metric:
    family, name = reading.family, base_name(reading)
    metric = Metric(name, family.help, family.kind)
    for suffix, labels, value in reading.rows:
        named = dict(zip(reading.label_names, labels, strict=False))
        metric.add_sample(name + suffix, named, value)
    return metric
