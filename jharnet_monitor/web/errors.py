"""Errors: one JSON line for programs, a page for people, and no internals for anyone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from jharnet_monitor.errors import StoreError, TemporaryError, UserError
from jharnet_monitor.web.access_log import logged_path

_log = logging.getLogger(__name__)

ErrorPage = Callable[[web.Request, int, str], Awaitable[web.Response]]

PROGRAM_PATHS = ("/api/", "/-/", "/agent", "/metrics")

_WORDS = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    413: "the request is too large",
}


class Refusal(Exception):
    """A refused request, with an HTTP status and a one-line message."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def error_middleware(page: ErrorPage) -> Middleware:
    """Turn every error into a response; `page` renders it for people."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as error:
            refusal = error
        except UserError as error:
            refusal = Refusal(400, str(error))
        except TemporaryError as error:
            _log.error("%s %r failed: %s", request.method, logged_path(request.path), error)
            text = "the monitor cannot do this now; its log says why"
            if isinstance(error, StoreError):
                text = "the database does not answer now; try again soon"
            refusal = Refusal(503, text, {"Retry-After": "10"})
        except web.HTTPException as error:
            if error.status < 400:
                raise
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            refusal = Refusal(error.status, _WORDS.get(error.status, error.reason), headers)
        except Exception:
            _log.exception("%s %r failed", request.method, logged_path(request.path))
            refusal = Refusal(500, "an error occurred in the monitor; see its log")
        if request.path.startswith(PROGRAM_PATHS):
            response = web.json_response({"error": refusal.message}, status=refusal.status)
        else:
            response = await page(request, refusal.status, refusal.message)
        response.headers.update(refusal.headers)
        return response

    return answer_errors


def unknown_office(office_id: str, known: list[str]) -> Refusal:
    """A 404 that lists the known offices."""
    shown = office_id if len(office_id) <= 60 else office_id[:60] + "…"
    return Refusal(404, f"no office `{shown}`; the configuration has {', '.join(known)}")
