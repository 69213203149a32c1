"""The join page: it makes a browser the office's agent, with nothing to install.

It is opened as `/join/ID#t=TOKEN`; browsers do not send the part behind `#`. The scripts
`static/join*.js` implement `wire.protocol` and the call of the conference probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.config.schema import ServiceProbe
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.live import Live
from jharnet_monitor.probes.conference.result import MAX_STALLED_SHARE
from jharnet_monitor.probes.service.page_visit import origins
from jharnet_monitor.profiles import Rung
from jharnet_monitor.web.readiness import ConferenceReadiness, readiness
from jharnet_monitor.web.status import Grade, office_row

JOIN_ASSETS = (
    "join.js", "join-bandwidth.js", "join-call.js", "join-check.js", "join-codecs.js",
    "join-datagrams.js", "join-devices.js", "join-keep.js", "join-lateness.js",
    "join-latency.js", "join-media.js", "join-paint.js", "join-processor.js", "join-service.js",
    "join-session.js", "join-stats.js", "join-transfer.js", "join-visit.js", "join-worker.js",
)  # fmt: skip


def headers(services: ServiceProbe) -> Mapping[str, str]:
    """Headers that replace those of other pages: this one may use camera, microphone and a worker,
    and fetch the addresses of the services that it visits."""
    connect = " ".join(("'self'", *dict.fromkeys(origins(services))))
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
            f"img-src 'self'; connect-src {connect}; manifest-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
        "Referrer-Policy": "no-referrer",
    }


SERVICE = "join-service.js"
"""The service worker: the browser lets it serve the pages below `SCOPE`."""
SCOPE = "/join/"


def manifest(office: Office, language: str, name: str, base: str) -> dict[str, Any]:
    """The web app manifest (W3C) by which a browser installs the page; the token is not in it.

    `base` is the path before all addresses, behind a proxy.
    """
    return {
        "id": f"{base}/join/{office.id}",
        "name": f"{name}: {office.name_in(language)}",
        "short_name": office.name_in(language),
        "lang": language,
        "start_url": f"{base}/join/{office.id}",
        "scope": f"{base}/join/{office.id}",
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#1d4f7c",
        "icons": [{"src": f"{base}/static/icon.svg", "sizes": "any", "type": "image/svg+xml"}],
    }


@dataclass(frozen=True, slots=True)
class JoinPage:
    """The content of the page."""

    office: str
    name: str
    expected: bool
    """Whether the configuration has a token for this office."""
    grade: Grade | None
    """The result of the last call; None for somebody who may not see it."""
    readiness: ConferenceReadiness | None
    picture: Rung
    """The picture of a conference, for the test of the computer."""
    codec: str
    visits: str
    """The origins that its content security policy lets it visit; fixed once it is open."""
    most_stalled: float
    """If its computer limits more than this share of a call's time, it counts as too slow."""


def join_page(live: Live, office: Office, formats: Formats, *, shown: bool) -> JoinPage:
    """Build the page's content from the live state, which is `shown` or not."""
    row = office_row(live, office, formats)
    calls = live.config.probes.conference
    return JoinPage(
        office.id,
        row.name,
        office.agent is not None,
        row.grade if shown else None,
        readiness(live, office, row, formats) if shown else None,
        calls.profile.rung,
        calls.codec,
        " ".join(origins(live.config.probes.service)),
        MAX_STALLED_SHARE,
    )
