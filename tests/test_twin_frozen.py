"""The twin is the one whose accuracy is stated: its calls are the same to nine digits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import twin_frozen

FROZEN: dict[str, dict[str, Any]] = json.loads(twin_frozen.FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def calls() -> dict[str, Any]:
    """All calls, simulated now."""
    return twin_frozen.shown()


@pytest.fixture(scope="module")
def arrivals() -> dict[str, Any]:
    """What all streams show, observed now."""
    return twin_frozen.observed()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every figure by its place."""
    if isinstance(value, dict):
        each = [_flat(one, f"{path}/{key}") for key, one in value.items()]
    elif isinstance(value, list):
        each = [_flat(one, f"{path}/{number}") for number, one in enumerate(value)]
    else:
        return {path: value}
    return {key: one for found in each for key, one in found.items()}


def _assert_same(found: Any, frozen: Any) -> None:
    now, then = _flat(found), _flat(frozen)
    assert now.keys() == then.keys()
    for place, value in then.items():
        close = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        assert now[place] == close, place


@pytest.mark.parametrize("client", FROZEN["calls"])
@pytest.mark.parametrize("line", twin_frozen.LINES)
def test_a_call_over_each_line_shows_what_it_showed(
    calls: dict[str, Any], client: str, line: str
) -> None:
    """Sound, picture and rate at both ends. If this was meant to change: see `twin_frozen`."""
    _assert_same(calls[client][line], FROZEN["calls"][client][line])


@pytest.mark.parametrize("way", twin_frozen.WAYS)
def test_arrivals_over_each_line_show_what_they_showed(arrivals: dict[str, Any], way: str) -> None:
    """Rate, queue, loss, jitter, gaps and others' traffic."""
    _assert_same(arrivals[way], FROZEN["arrivals"][way])


def test_the_lines_meet_what_the_twin_knows() -> None:
    """Otherwise equal figures would say little: every grade of picture, sound that is lost, frozen
    pictures, policers, gaps and traffic of others are among them."""
    flat = _flat(FROZEN)
    heights = {value for key, value in flat.items() if key.endswith("/height")}
    assert heights >= {180.0, 360.0, 540.0, 720.0}
    for name in ("concealed", "frozen", "gone", "every", "queue", "bucket", "policed", "loss",
                 "others", "transfer_on", "jitter"):  # fmt: skip
        assert any(value for key, value in flat.items() if key.endswith(f"/{name}")), name
