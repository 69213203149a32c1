"""Changes of single figures in the claims of a dossier."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

Leaf = tuple[str | int, ...]


def figures(node: Any, where: Leaf = ()) -> Iterator[Leaf]:
    """The path of every figure in the claims."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from figures(value, (*where, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*where, key)


def changed(claims: Any, leaf: Leaf, dice: random.Random) -> Any:
    """The claims with one figure changed by 3 to 50 per cent, a count by at least one."""
    forged = copy.deepcopy(claims)
    node = forged
    for key in leaf[:-1]:
        node = node[key]
    value = node[leaf[-1]]
    factor = 1 + dice.choice((-1, 1)) * dice.uniform(0.03, 0.5)
    if leaf[-1] == "grade":
        node[leaf[-1]] = (value + dice.randint(1, 4)) % 5
    elif isinstance(value, int):
        node[leaf[-1]] = value + dice.randint(1, 9)
    else:
        node[leaf[-1]] = value * factor if value else 0.125
    return forged
