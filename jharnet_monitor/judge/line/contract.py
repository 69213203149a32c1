"""What an office's contract promises, and whether a speed test falls short of it. Pure.

The hub uses it in the daemon, so it must not load NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.model import Direction, Measurement

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import Config, Link, Office

BUCKET = 0.95
"""A sustained rate below this share of the short test's shows that the latter measured a bucket."""


def contracted_rates(office: Office) -> tuple[float | None, float | None]:
    """The contracted rates in bit/s, towards the office and from it; None without a contract."""
    link = office.link
    return (link.rate(Direction.DOWN), link.rate(Direction.UP)) if link else (None, None)


def promised_availability(config: Config, office: Office) -> float:
    """The availability (a ratio) that the contract promises, else the district's requirement."""
    link = office.link
    return link.sla if link and link.sla is not None else config.thresholds.availability


def rates_changed(contracts: Iterable[tuple[datetime, Link | None]]) -> datetime | None:
    """When the contracted rates were last changed; None if they always were the same.

    `contracts` are those of an office, each from a moment on, oldest first. One that was not known
    before is no change: it is only told later.
    """
    before, changed = None, None
    for at, link in contracts:
        if link is not None:
            rates = [link.rate(direction) for direction in Direction]
            if before not in (None, rates):
                changed = at
            before = rates
    return changed


def under_contract(tests: Sequence[Measurement], since: datetime | None) -> Sequence[Measurement]:
    """The tests that are held against a contract whose rates are those of `since` on; all of them
    if they always were.
    """
    return tests if since is None else [test for test in tests if test.started_at >= since]


def lasting_rate(test: Measurement, direction: Direction) -> float | None:
    """The sustained rate in bit/s of a direction, for comparison with the contract. A short test
    over a policed line measures the token bucket; the sustained rate of a longer one then counts.
    None if the test has no rate.
    """
    return lasting_in(test.values, direction)


def lasting_in(values: Mapping[str, float], direction: Direction) -> float | None:
    """The same of the values of a test."""
    name = direction.transfer
    short = values.get(f"{name}_bits_per_second")
    return values.get(f"{name}_sustained_bits_per_second", short)


def rate_is_open(test: Measurement, direction: Direction) -> bool:
    """Whether the test's own pace or a computer limited that rate, so that it is a lower bound."""
    return limit_of(test, direction) == Limit.HOST or _pace_limited(test, direction)


def _pace_limited(test: Measurement, direction: Direction) -> bool:
    name = direction.transfer
    if not test.conditions.get(f"{name}_at_least"):
        return False
    lasting, short = lasting_rate(test, direction), test.values.get(f"{name}_bits_per_second")
    return lasting is None or short is None or lasting > BUCKET * short


def limit_of(test: Measurement, direction: Direction) -> object:
    """What limited a direction of a speed test; None if nothing did."""
    return limit_in(test.conditions, direction)


def limit_in(limits: Mapping[str, object], direction: Direction) -> object:
    """The same of the conditions of a test. Earlier versions recorded one limit for both directions
    together.
    """
    if "download_limited_by" in limits or "upload_limited_by" in limits:
        return limits.get(f"{direction.transfer}_limited_by")
    return limits.get("limited_by")


def lasting_tests(tests: Sequence[Measurement], direction: Direction) -> Sequence[Measurement]:
    """The tests that show the sustained rate: if the line is policed, only those that measured it.
    Any other test may have measured the token bucket.
    """
    sustained = f"{direction.transfer}_sustained_bits_per_second"
    if not is_policed(tests, direction):
        return tests
    return [test for test in tests if sustained in test.values]


def is_policed(tests: Sequence[Measurement], direction: Direction) -> bool:
    """Whether any of the tests met a policer."""
    return any(met_policer(test.values, test.conditions, direction) for test in tests)


def met_policer(
    values: Mapping[str, float], conditions: Mapping[str, object], direction: Direction
) -> bool:
    """Whether a test, by its values and conditions, met a policer."""
    name = direction.transfer
    lasting = values.get(f"{name}_sustained_bits_per_second")
    if lasting is None:
        return False
    short = values.get(f"{name}_bits_per_second")
    if short is None or lasting > BUCKET * short:
        return False
    return Limit.POLICER in (conditions.get(f"{name}_limited_by"), conditions.get("limited_by"))


def falls_short(measurement: Measurement, link: Link | None, share: float) -> bool:
    """Whether a speed test gave less than `share` of the contracted rate in either direction.

    A direction that the test's own pace limited (`…_at_least`) never falls short. One that a
    computer limited does: a repetition may find the computer idle.
    """
    if link is None:
        return False
    rates = {direction: lasting_rate(measurement, direction) for direction in Direction}
    return any(
        rate is not None
        and rate < share * link.rate(direction)
        and not _pace_limited(measurement, direction)
        for direction, rate in rates.items()
    )
