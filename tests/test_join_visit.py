"""Services visited by the join page in a real Chromium, which keeps their content from the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser, expect

from jharnet_monitor.config.schema import ServiceProbe
from jharnet_monitor.model import Cause, Measurement, Outcome
from jharnet_monitor.probes.base import Failed, NoData
from jharnet_monitor.probes.service.order import VisitOrder
from jharnet_monitor.probes.service.page_visit import reading_of_page
from tests.join_support import Door, browser, door, join, open_link
from tests.service_support import PageServer

__all__ = ["browser", "door"]

pytestmark = pytest.mark.browser
ORDER = VisitOrder("https://eoffice.example.in/", (), 10.0, 500_000)


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, PageServer]]:
    """One that is quick, one that is slow, one that hangs, and one that sends on to the quick."""
    async with AsyncExitStack() as stack:
        found = {"quick": PageServer(wait=0.1), "slow": PageServer(wait=1.2),
                 "hangs": PageServer(wait=120.0)}  # fmt: skip
        for server in found.values():
            await stack.enter_async_context(server.serving())
        for name, there in (("onward", found["quick"].url), ("elsewhere", "http://127.0.0.3:1/")):
            found[name] = PageServer(status=302, headers={"Location": there})
            await stack.enter_async_context(found[name].serving())
        yield found


async def test_a_page_visits_services(
    door: Door, browser: Browser, servers: dict[str, PageServer]
) -> None:
    """How long each took to answer, and nothing that a browser does not tell; only configured
    addresses are reached, and one that hangs does not stop another."""
    urls = {name: server.url for name, server in servers.items()}
    urls["closed"] = "http://127.0.0.1:9/"
    services = [{"name": name, "url": url} for name, url in urls.items()]
    settings = ServiceProbe.model_validate({"timeout": "10s", "slow": "1s", "services": services})
    before = door.hub.current.config
    probes = before.probes.model_copy(update={"service": settings})
    door.hub.current.replace(before.model_copy(update={"probes": probes}))
    page = await open_link(browser, door.link)
    await join(page)

    async def visited(name: str) -> Measurement:
        return await door.hub.run_probe("potka", "service", {"service": name})

    quick, slow = await visited("quick"), await visited("slow")
    assert quick.outcome is slow.outcome is Outcome.OK, (quick, slow)
    assert quick.values["answer_seconds"] >= 0.1
    assert slow.values["answer_seconds"] >= 1.2
    assert 0.5 < slow.values["answer_seconds"] - quick.values["answer_seconds"] < 5
    assert set(slow.values) == {"answer_seconds"} and slow.conditions["agent_client"] == "browser"
    onward = await visited("onward")
    assert onward.outcome is Outcome.OK and onward.values["answer_seconds"] >= 0.1
    hanging, meanwhile = await asyncio.gather(visited("hangs"), visited("quick"))
    assert hanging.cause == Cause.TIMEOUT and meanwhile.outcome is Outcome.OK, meanwhile
    for name in ("closed", "elsewhere"):
        failed = await visited(name)
        assert failed.outcome is Outcome.FAILED and failed.cause == Cause.CONNECTION_FAILED


async def test_a_page_does_not_blame_a_service_that_is_newer_than_itself(
    door: Door, browser: Browser, servers: dict[str, PageServer]
) -> None:
    """Its content security policy refuses the address. The page says that it must be reloaded; then
    it visits the service."""
    page = await open_link(browser, door.link)
    await join(page)
    services = [{"name": "new", "url": servers["quick"].url}]
    settings = ServiceProbe.model_validate({"timeout": "10s", "slow": "1s", "services": services})
    before = door.hub.current.config
    probes = before.probes.model_copy(update={"service": settings})
    door.hub.current.replace(before.model_copy(update={"probes": probes}))
    found = await door.hub.run_probe("potka", "service", {"service": "new"})
    assert (found.outcome, found.cause) == (Outcome.NO_DATA, Cause.PAGE_OUTDATED)
    await expect(page.locator("[data-remark=outdated]")).to_be_visible(timeout=90_000)
    await page.reload()
    await expect(page.locator(".say-waiting")).to_be_visible()
    await expect(page.locator("[data-remark=outdated]")).to_be_hidden()
    found = await door.hub.run_probe("potka", "service", {"service": "new"})
    assert found.outcome is Outcome.OK, found


def test_what_a_page_reports_is_checked() -> None:
    """An impossible report is no data; encryption around an open service is no failure."""
    for report in _impossible():
        with pytest.raises(NoData) as caught:
            reading_of_page(report, ORDER)
        assert caught.value.cause is Cause.BAD_REPORT
    with pytest.raises(NoData) as caught:
        reading_of_page({"outcome": "mixed"}, ORDER)
    assert caught.value.cause is Cause.NEEDS_PROGRAM
    with pytest.raises(NoData) as caught:
        reading_of_page({"outcome": "outdated"}, ORDER)
    assert caught.value.cause is Cause.PAGE_OUTDATED
    with pytest.raises(Failed):
        reading_of_page({"outcome": "failed", "seconds": 1.0}, ORDER)


def _impossible() -> Iterator[dict[str, object]]:
    yield {}
    yield {"outcome": ["answered"], "seconds": 1.0}
    yield {"outcome": "answered"}
    for seconds in (-1.0, 11.5, True, "1", float("nan")):
        yield {"outcome": "answered", "seconds": seconds}
