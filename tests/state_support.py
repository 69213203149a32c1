"""A state for a test: the shipped list of districts with keys of their own, and drawn weeks."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.judge.calendar.period import week as week_named
from jharnet_monitor.judge.line.grounds import LineVerdict
from jharnet_monitor.model import format_utc
from jharnet_monitor.report.sections.rating import GROUPS
from jharnet_monitor.security.signing import make_key, read_key
from jharnet_monitor.state.week import ZONE, DistrictWeek, OfficeWeek, SignedWeek, signed

SHIPPED = Path(__file__).parents[1] / "exporters/state/state.yaml"
WEEK = "2026-W47"
MADE_AT = week_named(WEEK, ZONE).end + timedelta(hours=8)


class Statewide:
    """The shipped districts, the first `count` of them, with keys and a file of their own."""

    def __init__(self, directory: Path, database: str, count: int = 24, **keys: Any) -> None:
        self.directory = directory
        data = yaml.safe_load(SHIPPED.read_text("utf-8"))
        data |= {"tls": False, "database": database, "listen": "127.0.0.1:0", **keys}
        data["districts"] = data["districts"][:count]
        for district in data["districts"]:
            district["keys"] = [make_key(self.key_of(district["id"]))]
        self.file = directory / "state.yaml"
        self.file.write_text(yaml.safe_dump(data, allow_unicode=True), "utf-8")
        self.state = load_yaml_model(self.file, StateFile)

    def key_of(self, district: str) -> Path:
        """The file with a district's private key."""
        return self.directory / f"{district}.key"

    def sign(self, week: DistrictWeek, district: str | None = None) -> SignedWeek:
        """Sign a week with the key of its district, or with another one's."""
        return signed(week, read_key(self.key_of(district or week.district)))


def drawn_week(
    district: str, name: str = WEEK, made_at: datetime | None = None, *, offices: int = 11,
    seed: int = 1,
) -> DistrictWeek:  # fmt: skip
    """A district's week drawn by a seed."""
    chance = random.Random(f"{district} {name} {seed}")
    made = made_at or week_named(name, ZONE).end + timedelta(hours=8)
    return DistrictWeek(
        district=district, week=name, made_at=format_utc(made), version="0.1.0",
        root="".join(chance.choices("0123456789abcdef", k=64)), faults_open=chance.randrange(3),
        offices=tuple(_office(number, chance) for number in range(offices)),
    )  # fmt: skip


def _office(number: int, chance: random.Random) -> OfficeWeek:
    group = chance.choices(GROUPS, (7, 2, 1, 1))[0]
    grade = {"able": chance.choice((3, 4)), "partly": chance.choice((1, 2)), "unable": 0}.get(group)
    availability = round(1 - chance.random() ** 4 * 0.2, 6)
    verdict = chance.choice(list(LineVerdict))
    return OfficeWeek(
        id=f"block-{number}", name=f"Block {number}", name_hi=f"प्रखण्ड {number}", group=group,
        grade=grade, calls=12 if grade is not None else 0, availability=availability,
        coverage=0.98, promised=0.99, kept=availability >= 0.99, outages=chance.randrange(5),
        down_seconds=round((1 - availability) * 604_800, 1), contracted=4e6,
        delivered=float(round(4e6 * chance.uniform(0.3, 1))), tests=42,
        rtt_seconds=round(chance.uniform(0.02, 0.3), 6), loss=round(chance.random() ** 3 / 20, 6),
        verdict=verdict, slab=chance.choice((10e6, 20e6, None))
        if verdict is LineVerdict.UPGRADE else None,
    )  # fmt: skip
