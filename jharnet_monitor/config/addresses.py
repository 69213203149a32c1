"""The address under which people and offices reach the hub."""

from __future__ import annotations

import socket

from jharnet_monitor.config.schema import HubSettings
from jharnet_monitor.security.tls import certificate_hosts
from jharnet_monitor.security.tokens import is_missing


def hub_url(hub: HubSettings) -> str:
    """`hub.url`, else one built from the configuration, such as `https://10.8.0.2:9797`.

    The host is that of `listen`; where the hub listens on every address, the first name in its
    certificate, else this machine's name. Raises `UserError` for a certificate that cannot be
    read.
    """
    if hub.url is not None:
        return hub.url
    host = hub.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = _known_name(hub)
    scheme = "https" if hub.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{hub.port}"


def _known_name(hub: HubSettings) -> str:
    if hub.tls and not is_missing(hub.tls.certificate):
        for name in certificate_hosts(hub.tls.certificate):
            if name not in ("localhost", "127.0.0.1", "::1"):
                return name
    return socket.gethostname()
