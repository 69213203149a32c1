"""What an agent is told at its start."""

from __future__ import annotations

import json
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PATHS = ("spool", "ca", "updates")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The settings of one agent. `hub` is the WebSocket address, `wss://host:9797/agent`."""

    hub: str
    office: str
    token: str
    spool: Path
    ca: Path | None = None
    release_key: str | None = None
    """The key with which updates must be signed; without one there are no updates."""
    updates: Path | None = None
    """Directory for updates."""

    @property
    def base(self) -> str:
        """The hub's HTTP address, for transfers."""
        parts = urlsplit(self.hub)
        return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"

    @property
    def hub_host(self) -> str:
        """Name or address of the hub."""
        return urlsplit(self.hub).hostname or ""

    def to_json(self) -> str:
        """For another process; `of_json` reads it."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def of_json(cls, text: str) -> AgentSettings:
        """The settings that `to_json` wrote."""
        values = json.loads(text)
        paths = {key: Path(values[key]) for key in _PATHS if values[key] is not None}
        return cls(**{**values, **paths})

    def tls(self) -> ssl.SSLContext | bool:
        """The context that trusts `ca`, or else the system's authorities; False without TLS."""
        if not self.hub.startswith("wss:"):
            return False
        return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
