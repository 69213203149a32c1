"""The table of the probes in the README, by their declarations."""

from __future__ import annotations

import re

from jharnet_monitor.probes import PROBES

_TABLE = re.compile(r"(\| probe \| how \| safeguards \|\n\|---\|---\|---\|\n)(?:\|.*\n)+")


def with_probes(text: str) -> str:
    """The README with its table of probes written again."""
    rows = (f"| `{one.name}` | {one.how} | {one.safeguards} |\n" for one in PROBES.values())
    table = "".join(rows)
    return _TABLE.sub(lambda found: found[1] + table, text)
