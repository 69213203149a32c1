"""Serves a made-up hub, with helpers for requests to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jharnet_monitor.web import make_app
from tests.made_up import config, district
from tests.made_up_hub import MadeUpHub

TOKEN = "a-token-that-nobody-guesses-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Client = TestClient[web.Request, web.Application]

CHANGES = (
    "/-/reload",
    "/api/v1/offices/potka/probes/latency",
    "/api/v1/drills",
    "/api/v1/maintenance",
    "/api/v1/faults",
    "/api/v1/faults/potka-1",
    "/faults",
    "/faults/potka",
    "/faults/potka/potka-1",
    "/office/potka/probes/bandwidth",
    "/drills",
    "/maintenance",
    "/maintenance/1/withdraw",
    "/reports",
)
"""All addresses that make changes."""


def bad_morning(directory: Path) -> MadeUpHub:
    """A hub that keeps its files in a directory and has an API token."""
    token_file = directory / "api-token"
    token_file.write_text(f"{TOKEN}\n")
    token_file.chmod(0o600)
    live = district()
    live._current.replace(config(11, api_token_file=str(token_file)))
    return MadeUpHub(live, directory)


@asynccontextmanager
async def serving(hub: MadeUpHub) -> AsyncIterator[Client]:
    """Serve the hub on loopback."""
    async with TestClient(TestServer(make_app(hub))) as client:
        yield client
    hub.store.close()


async def page(client: Client, path: str, lang: str = "en", status: int = 200) -> str:
    """Fetch a page's HTML."""
    answer = await client.get(path, headers={"Accept-Language": lang})
    assert answer.status == status
    assert answer.content_type == "text/html"
    return await answer.text()


async def error(client: Client, path: str, status: int, **request: Any) -> str:
    """Request an address that fails; returns the message of the JSON error."""
    answer = await client.request(request.pop("method", "GET"), path, **request)
    assert answer.status == status, await answer.text()
    body = await answer.json()
    assert set(body) == {"error"}
    assert "\n" not in body["error"]
    return str(body["error"])
