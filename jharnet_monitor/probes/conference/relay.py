"""The TURN server over which a call is made where UDP is blocked (RFC 8656).

A page gets credentials that expire (the scheme of coturn's `use-auth-secret`): the user name is the
time of expiry and the office, the password its HMAC-SHA-1 with the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, ProbeContext
from jharnet_monitor.security.tokens import read_secret

VALID_SECONDS = 900
DIRECT = "udp"


@dataclass(frozen=True, slots=True)
class CallWay:
    """A way of a call: straight by UDP (`url` is None), or over one address of a TURN server."""

    url: str | None = None
    username: str = ""
    credential: str = ""

    @property
    def transport(self) -> str:
        """What carries the call from the office: `udp`, `turn-udp`, `turn-tcp` or `turn-tls`.

        >>> CallWay("turns:hub.example.in:443?transport=tcp").transport
        'turn-tls'
        """
        if self.url is None:
            return DIRECT
        return "turn-tls" if self.url.startswith("turns:") else f"turn-{self.url[-3:]}"

    def parameters(self) -> dict[str, Any]:
        """The parameters of the page's task."""
        if self.url is None:
            return {}
        server = {"urls": self.url, "username": self.username, "credential": self.credential}
        return {"ice": [server]}


def relayed_ways(context: ProbeContext) -> Iterator[CallWay]:
    """The ways over the configured server, in order; raises `NoData` without its secret."""
    relay = context.config.probes.conference.relay
    if relay is None:
        return
    try:
        secret = read_secret(relay.secret_file)
    except UserError as error:
        raise NoData(Cause.NOT_CONFIGURED, f"relay.secret_file: {error}") from error
    until = int(context.clock.now().timestamp()) + VALID_SECONDS
    username = f"{until}:{context.office.id}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    for url in relay.urls:
        yield CallWay(url, username, base64.b64encode(digest).decode())
