"""The order for a visit: the page, its limits, and where it may be redirected to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from yarl import URL

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import Service, ServiceProbe


MOST_REDIRECTS = 5
LONGEST_SECONDS = 120.0
LARGEST_BYTES = 5_000_000
LONGEST_AUTHORITY = 100_000
"""An agent's own limits, whatever the hub requests."""
SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class VisitOrder:
    """One visit: it takes at most `seconds` and reads at most `most` bytes of a body. `hosts` are
    other hosts to which it may be redirected; `ca` holds certificates (PEM) that are trusted in
    addition to the system's."""

    url: str
    hosts: tuple[str, ...]
    seconds: float
    most: int
    expect: str | None = None
    ca: str | None = None

    @classmethod
    def of(cls, settings: ServiceProbe, service: Service, ca: str | None = None) -> VisitOrder:
        """By the configuration; `ca` holds the certificates of the service's own authority."""
        return cls(service.url, service.hosts, settings.timeout, settings.most, service.expect, ca)

    def to_params(self) -> dict[str, Any]:
        """As the hub sends it to an agent."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> VisitOrder:
        """Parse it at the agent, within the agent's own limits; raises `ValueError`."""
        url, hosts, expect = params.get("url"), params.get("hosts"), params.get("expect")
        seconds, most = params.get("seconds"), params.get("most")
        if not isinstance(url, str) or URL(url).scheme not in SCHEMES or not URL(url).host:
            raise ValueError("a visit needs an http or https address")
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise ValueError("a visit needs the hosts that it may be redirected to")
        if not isinstance(seconds, int | float) or not isinstance(most, int):
            raise ValueError("a visit needs its limits")
        ca = params.get("ca")
        if not all(one is None or isinstance(one, str) for one in (expect, ca)):
            raise ValueError("the expected text and the certificates must be text")
        if ca is not None and len(ca) > LONGEST_AUTHORITY:
            raise ValueError("the certificates of an authority must be shorter")
        return cls(
            url,
            tuple(hosts),
            min(float(seconds), LONGEST_SECONDS),
            min(most, LARGEST_BYTES),
            expect,
            ca,
        )

    def next_page(self, here: URL, location: str | None) -> URL | None:
        """The target of a redirect, without credentials; None if it must not be followed. Only the
        page's own host and the listed ones are allowed, and never http after https.
        """
        try:
            there = here.join(URL(location or ""))
        except ValueError:
            return None
        if not location or there.scheme not in SCHEMES or not there.host:
            return None
        if (here.scheme, there.scheme) == ("https", "http"):
            return None
        if there.host not in (URL(self.url).host, *self.hosts):
            return None
        return there.with_user(None).with_fragment(None)
