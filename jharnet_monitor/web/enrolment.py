"""Enrolment of agents over HTTP: the authority's certificate, and a token for a code."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from aiohttp import web

from jharnet_monitor.config import Config
from jharnet_monitor.errors import TemporaryError, UserError, is_one_line
from jharnet_monitor.security.enrolment import EnrolmentRefused, accept
from jharnet_monitor.store.acts import Act
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.query import read_object

log = logging.getLogger(__name__)

MOST_TEXT = 200


class EnrolmentApi:
    """The handlers of enrolment for one hub."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub

    def routes(self) -> list[web.RouteDef]:
        """Their routes."""
        return [
            web.get("/api/v1/ca.pem", self.authority),
            web.post("/api/v1/enrolments", self.enrol),
        ]

    async def authority(self, request: web.Request) -> web.Response:
        """The certificate of the hub's own authority; an agent compares its fingerprint."""
        path = authority_file(self._hub.config)
        if path is None or not path.is_file():
            raise Refusal(404, "this hub has no authority of its own")
        text = await self._hub.read(path.read_text, "ascii")
        return web.Response(text=text, content_type="application/x-pem-file")

    async def enrol(self, request: web.Request) -> web.Response:
        """Swap a one-time code for a token, of which the agent sends the hash."""
        body = await read_object(request)
        office_id, code, token_hash = (_text(body.get(n)) for n in ("office", "code", "token_hash"))
        offices = {o.id: o for o in self._hub.config.offices if o.agent is not None}
        office = offices.get(office_id)
        if office is None or office.agent is None:
            raise Refusal(403, "there is no open enrolment for this office")
        file, now = office.agent.token_hash_file, self._hub.clock.now()
        try:
            by = await asyncio.to_thread(accept, file, code, token_hash, now)
        except EnrolmentRefused as error:
            raise Refusal(403, str(error)) from None
        except (TemporaryError, UserError) as error:
            log.error("enrolment of %s: %s", office_id, error)
            raise Refusal(
                503, "the hub cannot write the office's token; its log says why"
            ) from error
        about = {"office": office_id, "code_by": by}
        await self._hub.record_act(Act("enrol", "one-time code", request.remote or "?", about))
        return web.json_response({"office": office_id})


def authority_file(config: Config) -> Path | None:
    """Where `tls init` puts the authority's certificate; None without TLS."""
    return config.hub.tls.certificate.with_name("ca.pem") if config.hub.tls else None


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT or not is_one_line(value):
        raise Refusal(400, "an enrolment needs `office`, `code` and `token_hash`")
    return value
