"""What a reverse proxy says of a request: who sent it, to which host, by which scheme.

Anybody can send these headers, so they count only from the addresses of `hub: trusted_proxies:`.
The proxy takes off the path of `hub: url:`; the hub puts it before every address that it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from jharnet_monitor.web.access_log import ACTOR, SENDER

FORWARDED = ("Forwarded", "X-Forwarded-For", "Via")
"""Headers of a request that a proxy passed on for another."""
_LONGEST = 200
Networks = Sequence[IPv4Network | IPv6Network]


def trust_proxies(trusted: Sequence[str]) -> Middleware:
    """Replace address, host and scheme of requests from trusted proxies by those that they name."""
    networks = [ip_network(one) for one in trusted]

    @web.middleware
    async def as_forwarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if networks and is_trusted(request.remote, networks):
            forwarded = request.headers.getall("X-Forwarded-For", [])
            sender = original_sender(",".join(forwarded), networks) or str(request.remote)
            host = _single(request, "X-Forwarded-Host") or request.host
            scheme = _single(request, "X-Forwarded-Proto")
            if scheme not in ("http", "https"):
                scheme = request.scheme
            request[SENDER] = sender
            forwarded_request = request.clone(remote=sender, host=host, scheme=scheme)
            try:
                return await handler(forwarded_request)
            finally:
                if ACTOR in forwarded_request:  # the access log is given the request that arrived
                    request[ACTOR] = forwarded_request[ACTOR]
        return await handler(request)

    return as_forwarded


def is_forwarded(request: web.Request) -> bool:
    """Whether a proxy passed the request on: one that is trusted, or any that says so."""
    return SENDER in request or any(name in request.headers for name in FORWARDED)


def is_trusted(address: str | None, networks: Networks) -> bool:
    """Whether an address is that of a proxy."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return False
    return any(found in network for network in networks if network.version == found.version)


def original_sender(forwarded: str, networks: Networks) -> str | None:
    """The last address in `X-Forwarded-For` that is no trusted proxy; None if there is none.

    What stands before it was written by the sender, who may write anything.

    >>> proxies = [ip_network("10.0.0.0/24")]
    >>> original_sender("8.8.8.8, 10.8.3.10, 10.0.0.7", proxies)
    '10.8.3.10'
    """
    for part in reversed(forwarded[-_LONGEST * 5 :].split(",")):
        address = part.strip()
        try:
            ip_address(address)
        except ValueError:
            return None
        if not is_trusted(address, networks):
            return address
    return None


def _single(request: web.Request, name: str) -> str:
    """A header's only value; empty if it is missing, long or not of printable characters."""
    text = request.headers.get(name, "")
    return text if len(text) <= _LONGEST and text.isprintable() and "," not in text else ""
