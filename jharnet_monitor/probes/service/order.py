"""What is asked of a visit: the page, its limits, and where it may be sent on to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from yarl import URL

from jharnet_monitor.config.schema import Service, ServiceProbe

MOST_REDIRECTS = 5
LONGEST_SECONDS = 120.0
LARGEST_BYTES = 5_000_000
"""An agent takes no longer and no more, whatever the hub asks for."""
SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class VisitOrder:
    """One visit: `seconds` and `most` body bytes at most, `hosts` to which it may be sent on."""

    url: str
    hosts: tuple[str, ...]
    seconds: float
    most: int
    expect: str | None = None

    @classmethod
    def of(cls, settings: ServiceProbe, service: Service) -> VisitOrder:
        """By the configuration; redirects may lead to the host of any configured service."""
        hosts = tuple(sorted({URL(one.url).host or "" for one in settings.services}))
        return cls(service.url, hosts, settings.timeout, settings.most, service.expect)

    def to_params(self) -> dict[str, Any]:
        """As the hub sends it to an agent."""
        return asdict(self)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> VisitOrder:
        """As an agent reads it, within the agent's own limits; raises `ValueError`."""
        url, hosts, expect = params.get("url"), params.get("hosts"), params.get("expect")
        seconds, most = params.get("seconds"), params.get("most")
        if not isinstance(url, str) or URL(url).scheme not in SCHEMES or not URL(url).host:
            raise ValueError("a visit needs an http or https address")
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise ValueError("a visit needs the hosts that it may be sent on to")
        if not isinstance(seconds, int | float) or not isinstance(most, int):
            raise ValueError("a visit needs its limits")
        if expect is not None and not isinstance(expect, str):
            raise ValueError("what is expected must be text")
        return cls(
            url,
            tuple(hosts),
            min(float(seconds), LONGEST_SECONDS),
            min(most, LARGEST_BYTES),
            expect,
        )

    def next_page(self, here: URL, location: str | None) -> URL | None:
        """Where a redirect leads, without credentials; None where it must not be followed.

        From http it may lead to https, never back; to another host by the same scheme, or to the
        host of a configured service.
        """
        try:
            there = here.join(URL(location or ""))
        except ValueError:
            return None
        if not location or there.scheme not in SCHEMES or not there.host:
            return None
        if (here.scheme, there.scheme) == ("https", "http"):
            return None
        if there.scheme != here.scheme and there.host not in (*self.hosts, here.host):
            return None
        return there.with_user(None).with_fragment(None)
