"""The API: its responses and its errors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from openapi_spec_validator import validate
from yarl import URL

from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import QUANTITIES, format_utc
from jharnet_monitor.web.errors import error_middleware
from tests.made_up import NOW, OFFICES, bandwidth, latency
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, Client, error, page

DAY = timedelta(days=1)


async def test_an_unknown_office_names_the_known_ones(client: Client) -> None:
    """404 with the ids in one line for programs, with links for people."""
    html = await page(client, "/office/nowhere", status=404)
    assert all(f'href="/office/{id_}"' in html for id_, _, _ in OFFICES)
    for path, method in (
        ("/api/v1/measurements?office=nowhere", "GET"),
        ("/api/v1/offices/nowhere/probes/latency", "POST"),
    ):
        message = await error(client, path, 404, method=method, headers=BEARER)
        assert message == "no office `nowhere`; the configuration has " + ", ".join(
            id_ for id_, _, _ in OFFICES
        )


async def test_offices_are_listed_with_their_newest_runs(client: Client) -> None:
    """State, since, last seen, and the newest measurement of every probe."""
    offices = await (await client.get("/api/v1/offices")).json()
    assert [office["id"] for office in offices] == [id_ for id_, _, _ in OFFICES]
    musabani = offices[6]
    assert (musabani["state"], musabani["since"]) == ("unreachable", "2026-11-25T05:38:00.000Z")
    assert musabani["latest"]["latency"]["values"] == {"sent": 60, "received": 0, "loss_ratio": 1}
    assert offices[1]["running"] == ["bandwidth"]


async def test_measurements_are_filtered(client: Client, hub: MadeUpHub) -> None:
    """By office, probe and time; newest first; a `+` in a time zone may stand as it is."""
    hub.store.add([latency("potka", NOW - timedelta(minutes=n)) for n in range(10)])
    hub.store.add([latency("boram", NOW), bandwidth("potka", NOW, 4e6, 4e6)])

    async def found(query: str) -> list[dict[str, Any]]:
        answer = await client.get(f"/api/v1/measurements?{query}")
        assert answer.status == 200
        result: list[dict[str, Any]] = await answer.json()
        return result

    assert len(await found("")) == 12
    assert [m["started_at"] for m in await found("office=potka&probe=latency&limit=2")] == [
        "2026-11-25T06:30:00.000Z",
        "2026-11-25T06:29:00.000Z",
    ]
    since, until = "2026-11-25T11:52:00+05:30", "2026-11-25T06:25:00Z"
    times = [m["started_at"][11:16] for m in await found(f"since={since}&until={until}")]
    assert times == ["06:24", "06:23", "06:22"]


async def test_paging_returns_every_measurement(client: Client, hub: MadeUpHub) -> None:
    """Following the Link header finds all measurements, even if many began at once."""
    hub.store.add(
        [latency(id_, NOW - timedelta(minutes=n)) for n in range(7) for id_, _, _ in OFFICES[:5]]
    )
    seen: list[str] = []
    path: str | None = "/api/v1/measurements?limit=8"
    pages = 0
    while path:
        answer = await client.get(path)
        seen += [m["id"] for m in await answer.json()]
        path = str(URL(answer.links["next"]["url"]).relative()) if answer.links else None
        pages += 1
        assert pages < 20
    assert len(set(seen)) == 35


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("probe=ping", "no probe `ping`; there are latency, bandwidth, conference"),
        ("since=yesterday", "`since` must be a time with time zone, such as 2026-"),
        ("until=2026-11-25T06:00:00", "`until` must be a time with time zone"),
        ("since=2026-11-25T06:00:00Z&until=2026-11-25T05:00:00Z", "must be before `until`"),
        ("since=99999-01-01T00:00:00Z", "`since` must be a time"),
        ("since=0001-01-01T00:00:00%2B14:00", "`since` must be a time"),
        ("limit=0", "`limit` must be a whole number from 1 to 10000, not `0`"),
        ("limit=10001", "from 1 to 10000"),
        ("limit=ten", "not `ten`"),
        ("limit=%D9%A3", "whole number"),
        ("limit=", "whole number"),
        ("offfice=potka", "unknown parameter `offfice`; use office, probe, since, until, limit"),
        ("probe=latency&probe=bandwidth", "`probe` is given more than once"),
    ],
)  # fmt: skip
async def test_a_wrong_query_is_refused_in_one_line(client: Client, query: str, says: str) -> None:
    """400 with what is valid."""
    assert says in await error(client, f"/api/v1/measurements?{query}", 400)


async def test_a_probe_is_run_on_demand(client: Client, hub: MadeUpHub) -> None:
    """The response is the measurement; options go to the probe, and invalid ones give 400."""
    url = "/api/v1/offices/potka/probes/latency"
    answer = await client.post(url, headers=BEARER, json={"packets": 5})
    assert (await answer.json())["values"]["sent"] == 60
    assert hub.requested == [("potka", "latency", {"packets": 5})]
    assert (await client.post(url, headers=BEARER)).status == 200
    for body, says in (
        (b"[1]", "the body must be a JSON object"),
        (b"{", "the body must be a JSON object"),
        (b"[" * 50_000, "the body must be a JSON object"),
        (b'{"wrong": 1}', "latency has no option `wrong`"),
    ):
        request = {"method": "POST", "headers": BEARER, "data": body}
        assert says in await error(client, url, 400, **request)
    assert "there are latency" in await error(
        client, "/api/v1/offices/potka/probes/ping", 404, method="POST", headers=BEARER
    )
    large = {"method": "POST", "headers": BEARER, "data": b" " * 70_000}
    assert "too large" in await error(client, url, 413, **large)


async def test_drills_are_started_and_followed(client: Client, hub: MadeUpHub) -> None:
    """A drill is started with profile and minutes; invalid ones are refused."""
    answer = await client.post(
        "/api/v1/drills", headers=BEARER, json={"profile": "360p", "minutes": 2}
    )
    assert answer.status == 202
    assert hub.requested == [("drill", "360p", 2.0)]
    assert (await (await client.get(answer.headers["Location"])).json())["state"] == "done"
    assert await error(client, "/api/v1/drills/d2", 404) == "no such drill"
    for body, says in (
        ({"profile": "4k"}, "no profile `4k`; there are audio, 180p"),
        ({"minutes": 0.01}, "`minutes` must be a number from 0.1 to 60"),
        ({"minutes": 61}, "`minutes` must be a number from 0.1 to 60"),
        ({"minutes": True}, "`minutes` must be a number"),
        ({"minutes": "5"}, "`minutes` must be a number"),
        ({"minutes": 1e400}, "`minutes` must be a number"),
        ({"profil": "720p"}, "unknown key `profil`; use profile, minutes"),
    ):
        request = {"method": "POST", "headers": BEARER, "json": body}
        assert says in await error(client, "/api/v1/drills", 400, **request)


async def test_planned_windows_are_announced(client: Client, hub: MadeUpHub) -> None:
    """Start and end need a time zone and the right order."""
    window = {"office": "potka", "from": "2026-11-25T14:00:00+05:30", "to": "2026-11-25T11:00:00Z"}
    answer = await client.post("/api/v1/maintenance", headers=BEARER, json=window)
    assert answer.status == 201
    assert hub.requested[0][:2] == ("plan", "potka")
    for changed, says in (
        ({"to": "2026-11-25T08:00:00Z"}, "must be before"),
        ({"from": None}, "needs `from` and `to`"),
        ({"reason": "x" * 201}, "`reason` must be one line of at most 200 characters"),
        ({"reason": 7}, "`reason` must be one line"),
        ({"reason": "a\nb"}, "`reason` must be one line"),
        ({"reason": "a\0b"}, "`reason` must be one line"),
        ({"reason": "\ud800"}, "the body has half a character"),
        (
            {"from": "2027-12-31T06:30:00Z", "to": "2028-01-01T06:30:00Z"},
            "is too far ahead; maintenance is announced at most 400 days before it begins",
        ),
        ({"from": 7}, "`from` must be a time"),
        (
            {"from": "2026-11-24T08:00:00Z", "to": format_utc(NOW)},
            f"`to` {format_utc(NOW)} is in the past; announce maintenance before it ends",
        ),
    ):
        request = {"method": "POST", "headers": BEARER, "json": window | changed}
        assert says in await error(client, "/api/v1/maintenance", 400, **request)


async def test_maintenance_that_is_accepted_can_be_withdrawn(
    client: Client, hub: MadeUpHub
) -> None:
    """Also the one farthest ahead; its reason may be Hindi with the joiners of its script."""
    window = {"from": format_utc(NOW + timedelta(days=400)),
              "to": format_utc(NOW + timedelta(days=401)), "reason": "क्\u200dष"}  # fmt: skip
    answer = await client.post("/api/v1/maintenance", headers=BEARER, json=window)
    assert answer.status == 201
    number = (await answer.json())["number"]
    hub.clock.step(1)
    [listed] = await (await client.get("/api/v1/maintenance")).json()
    assert (listed["number"], listed["reason"]) == (number, window["reason"])
    assert (await client.delete(f"/api/v1/maintenance/{number}", headers=BEARER)).status == 200


@pytest.mark.parametrize("text", ["\ud800", "a\nb", "a\0b", "a\u202eb"])
@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/api/v1/faults", {"office": "potka"}, "note"),
        ("/api/v1/faults", {"office": "potka"}, "docket"),
        ("/api/v1/maintenance", {"from": format_utc(NOW), "to": format_utc(NOW + DAY)}, "reason"),
        ("/api/v1/updates", {}, "version"),
        ("/api/v1/enrolments", {"office": "potka", "token_hash": "x"}, "code"),
        ("/api/v1/enrolments", {"office": "potka", "code": "x"}, "token_hash"),
    ],
)
async def test_a_text_that_is_no_line_is_refused(
    client: Client, hub: MadeUpHub, path: str, body: dict[str, Any], key: str, text: str
) -> None:
    """Control characters and halves of characters reach neither the store nor the queue of what
    waits for it, in which one such text kept all that came after it from the disk."""
    request = {"method": "POST", "headers": BEARER, "json": body | {key: text}}
    await error(client, path, 400, **request)
    assert (hub.requested, hub.acts, hub.updates.offered) == ([], [], [])


async def test_the_map_is_found_at_its_address(client: Client) -> None:
    """It is a part of the status page."""
    answer = await client.get("/map", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (308, "/")


async def test_health_readiness_and_reload(client: Client, hub: MadeUpHub) -> None:
    """Readiness gives its reason, and reload the loader's message."""
    assert (await client.get("/-/healthy")).status == 200
    hub.health.answer = (False, "the event loop is blocked")
    answer = await client.get("/-/ready")
    assert (answer.status, await answer.text()) == (503, "the event loop is blocked\n")
    assert (await client.post("/-/reload", headers=BEARER)).status == 200
    hub.broken_configuration = True
    reload = {"method": "POST", "headers": BEARER}
    assert "jharnet.yaml:3: hub.listen" in await error(client, "/-/reload", 400, **reload)
    assert "does not take that method" in await error(client, "/-/reload", 405)


async def test_metrics_have_the_requested_format(client: Client) -> None:
    """Prometheus text by default, OpenMetrics and gzip on request."""
    plain = await client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "Content-Encoding" not in plain.headers
    wanted = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.1"}
    openmetrics = await client.get("/metrics", headers=wanted)
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.headers["Content-Encoding"] == "gzip"
    assert (await openmetrics.text()).endswith("# EOF\n")


async def test_the_description_is_valid_and_complete(client: Client) -> None:
    """It is valid OpenAPI 3.1 and has exactly the routes of the hub."""
    described = await (await client.get("/api/v1/openapi.json")).json()
    validate(described)
    documented = {
        (method.upper(), path)
        for path, item in described["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert client.app is not None
    served = {
        (method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource
        for method in (("GET", "POST") if route.method == "*" else (route.method,))
        if method != "HEAD"
    }
    assert documented == served
    values = described["components"]["schemas"]["Measurement"]["properties"]["values"]
    assert set(values["properties"]) == {q.name for q in QUANTITIES}


async def test_an_error_shows_no_internals(
    client: Client,
    hub: MadeUpHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has the traceback; programs and people get one sentence."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(hub.store, "measurements", fail)
    message = await error(client, "/api/v1/measurements", 500)
    assert message == "an error occurred in the monitor; see its log"
    html = await page(client, "/office/potka", status=500)
    assert "An error occurred in the monitor" in html
    assert "secret detail" not in html
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("kind", [RuntimeError, StoreError])
async def test_the_log_of_an_error_has_no_key(
    caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    """The path of a bulk exchange ends with its one-time key, which the access log leaves out."""

    async def fail(_: web.Request) -> web.StreamResponse:
        raise kind("broken")

    async def no_page(*_: object) -> web.Response:
        raise AssertionError

    request = make_mocked_request("PUT", "/agent/transfer/the-key")
    answer = await error_middleware(no_page)(request, fail)
    assert answer.status in (500, 503)
    assert "/agent/transfer/…" in caplog.text and "the-key" not in caplog.text


async def test_updates_are_offered_by_administrators(client: Client, hub: MadeUpHub) -> None:
    """Not without the token; what is wrong is one line; who offered what is on record."""
    path = "/api/v1/updates"
    await error(client, path, 401, method="POST", json={"version": "0.2.0"})
    wrongs: list[dict[str, Any]] = [
        {"version": ""}, {"version": "x" * 41}, {"version": 2}, {"version": "0.2.0", "offices": []},
        {"version": "0.2.0", "offices": "potka"}, {"version": "0.2.0", "by": "me"},
        {"version": "9.9.9"}, {}, {"offices": ["potka"]},
    ]  # fmt: skip
    for wrong in wrongs:
        await error(client, path, 400, method="POST", headers=BEARER, json=wrong)
    assert "`version` is missing" in await error(client, path, 400, method="POST", headers=BEARER)
    for version in ("0.2.0", None):
        named = {"version": version, "offices": ["potka", "nowhere"]}
        says = await error(client, path, 404, method="POST", headers=BEARER, json=named)
        assert "no office `nowhere`" in says
    assert hub.updates.offered == []
    for body in ({"version": "0.2.0", "offices": ["potka"]}, {"version": None}):
        answer = await client.post(path, headers=BEARER, json=body)
        assert answer.status == 202
        assert set(await answer.json()) == {"release_key", "releases", "offered", "offices"}
    assert hub.updates.offered == [("0.2.0", ("potka",), "API token"), (None,)]
    assert hub.acts[-1].what == "update"
