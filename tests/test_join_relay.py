"""An office whose UDP is blocked: a real browser's call over TURN by TLS or TCP on port 443."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.busy_host import was_late
from tests.lab_support import needs_lab
from tests.page_support import OFFICE, PageLab, district, way
from tests.tab_support import Name
from tests.turn_support import ONLY_443, UDP_BLOCKED, firewall, relay, trusting_tab, turn_server

pytestmark = [pytest.mark.root, pytest.mark.server("turnserver", "nft"), needs_lab]
CALL = {"profile": "360p", "seconds": 8}
"""Two cores encode, decode and relay that, even beside other tests; 720p they may not."""
GOOD = district("4 Mbit/s", way("4 Mbit/s"), way("4 Mbit/s"))
BROWSERS = pytest.mark.parametrize(
    "browser",
    [
        pytest.param("chromium", marks=pytest.mark.browser),
        pytest.param(
            "firefox", marks=[pytest.mark.browser("firefox-esr"), pytest.mark.server("certutil")]
        ),
    ],
)
TEXT = "document.querySelector('main').innerText"


async def _relayed(
    browser: Name, scheme: str, rules: str, directory: Path, trusted: bool = True
) -> tuple[dict[str, object], str, str]:
    """A call behind this firewall: its measurement, what the office's page says, coturn's log."""
    given = relay(directory, scheme)
    settings = {"probes": {"conference": {"relay": given.section}}}
    prefix = f"jhrel{browser[:2]}{scheme[-1]}"
    with PageLab.started(GOOD, directory, "https", prefix, settings) as one:
        async with (
            turn_server(one, given) as log,
            trusting_tab(one, browser, directory, given if trusted else None) as page,
        ):
            await page.join(one.link)
            with firewall(one, rules):
                result = await one.undisturbed("conference", **CALL)
                front = await page.another()
                await front.open(f"{one.base}/office/{OFFICE}")
                await front.until("document.readyState", "complete")
                shown = await front.ask(TEXT)
        return result, shown, log.read_text("utf-8", "replace")


@BROWSERS
async def test_a_call_gets_through_by_tls_where_only_443_is_open(
    browser: Name, tmp_path: Path
) -> None:
    """No UDP and no other port: the call is carried by TURN over TLS 443, and graded."""
    result, shown, log = await _relayed(browser, "turns", ONLY_443, tmp_path)
    values, conditions = result["values"], result["conditions"]
    assert isinstance(values, dict) and isinstance(conditions, dict)
    assert result["outcome"] == "ok", (result, log)
    assert (conditions["transport"], conditions["transports_blocked"]) == ("turn-tls", "udp")
    assert (values["grade"], conditions["limited_by"]) == (3, "none")
    for side in ("up", "down"):
        assert values[f"{side}_height"] == 360
        assert values[f"{side}_frames_per_second"] > 20
    assert was_late(conditions) or 0.03 < values["rtt_p95_seconds"] < 0.2
    assert "method=TLS" in log and f":{OFFICE}>" in log
    assert "a client gets through over the relay (TURN) by TLS, with this grade" in shown


@pytest.mark.browser("firefox-esr")
async def test_firefox_gets_through_by_tcp_where_udp_is_blocked(tmp_path: Path) -> None:
    """The same in Firefox, over TURN by TCP, which needs no certificate that it trusts."""
    result, shown, _ = await _relayed("firefox", "turn", UDP_BLOCKED, tmp_path)
    values, conditions = result["values"], result["conditions"]
    assert isinstance(values, dict) and isinstance(conditions, dict)
    assert result["outcome"] == "ok", result
    assert (conditions["transport"], conditions["transports_blocked"]) == ("turn-tcp", "udp")
    assert (values["grade"], conditions["limited_by"]) == (3, "none")
    assert "a client gets through over the relay (TURN) by TCP, with this grade" in shown


@BROWSERS
async def test_a_relay_whose_certificate_is_unknown_carries_nothing(
    browser: Name, tmp_path: Path
) -> None:
    """As with any client: the page says so, since the line is not to blame for that."""
    result, shown, _ = await _relayed(browser, "turns", UDP_BLOCKED, tmp_path, trusted=False)
    conditions = result["conditions"]
    assert isinstance(conditions, dict)
    assert (result["outcome"], result["cause"]) == ("failed", "udp_blocked")
    assert conditions["transports_blocked"] == "udp, turn-tls"
    assert "only with a certificate that it trusts" in shown
