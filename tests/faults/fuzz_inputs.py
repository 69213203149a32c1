"""Makes a stranger's inputs from valid ones: bytes, text and JSON, changed at random."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**32 - 1, 2**53, -(2**63), 2**63, 2**64, 10**18, 10**400, 1e300, -1e300,
    1e-300, 0.1, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
TEXTS: tuple[str, ...] = (
    "", " ", "0", "-1", "null", "\x00", "\n", "%s%n{0}", "../../etc/passwd", "=HYPERLINK(1)",
    "<script>alert(1)</script>", "'; DROP TABLE events; --", "पोटका", "\ud800", "\u202e", "é" * 200,
    "x" * 5000, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "1e999999999", "${jndi:ldap://x}", "*", "@",
)  # fmt: skip
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x0D, 0x20, 0x22, 0x30, 0x5B, 0x7B)
MOST_BYTES = 70_000


def changed(raw: bytes, dice: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """The bytes with one to four changes."""
    data = bytearray(raw)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        _change(data, dice, others)
    return bytes(data[:MOST_BYTES])


def _change(data: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    span = dice.choice((1, 1, 2, 4, 8, 50))
    match dice.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        case 1 if at < len(data):
            data[at] = dice.choice(BYTES)
        case 2:
            del data[at : at + span]
        case 3:
            data[at:at] = data[at : at + span]
        case 4:
            data[at:at] = dice.randbytes(span)
        case 5:
            del data[at:]
        case 6:
            value = dice.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, len(data)))
            data[at : at + 4] = value.to_bytes(4, dice.choice(("big", "little")))
        case 7 if others:
            other = dice.choice(others)
            data[at:] = other[dice.randrange(len(other) + 1) :]
        case _:
            data[at : at + span] = dice.randbytes(span)


def changed_text(text: str, dice: random.Random) -> str:
    """The text with a line lost, doubled, moved or changed, or with changed bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(lines)) if lines else 0
        match dice.randrange(6):
            case 0 if lines:
                del lines[at]
            case 1 if lines:
                lines.insert(dice.randrange(len(lines) + 1), lines[at])
            case 2 if lines:
                words = lines[at].split(" ")
                words[dice.randrange(len(words))] = str(dice.choice(NUMBERS + TEXTS))[:400]
                lines[at] = " ".join(words)
            case 3 if lines:
                raw = changed(lines[at].encode("utf-8", "surrogatepass"), dice)
                lines[at] = raw.decode("utf-8", "replace")
            case 4 if lines:
                lines[at] = "  " * dice.randrange(4) + lines[at]
            case _:
                lines.insert(at, str(dice.choice(TEXTS))[:400])
    return "".join(lines)


def any_value(dice: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = dice.choice("ntblsd" + "LOD" * (depth < 3))
    made: Any = None
    if kind in "nt":
        made = dice.choice(NUMBERS if kind == "n" else TEXTS)
    elif kind == "b":
        made = dice.choice((None, True, False))
    elif kind == "L":
        made = [any_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    elif kind == "O":
        made = {str(dice.choice(TEXTS)): any_value(dice, depth + 1)}
    elif kind == "D":
        for _ in range(dice.choice((20, 200, 900))):
            made = [made]
    else:
        made = dice.randrange(-1000, 1000)
    return made


def changed_json(value: Any, dice: random.Random) -> Any:
    """The value with one to three of its parts replaced, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 2, 3))):
        holder: Any = value
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = dice.choice(keys)
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and dice.random() < 0.7:
                holder = inner
                continue
            if dice.random() < 0.2:
                del holder[key]
            else:
                holder[key] = any_value(dice)
            break
        if isinstance(holder, dict) and dice.random() < 0.1:
            holder[str(dice.choice(TEXTS))] = any_value(dice)
    return value


def as_json(value: Any) -> str:
    """JSON as a careless program writes it, NaN included."""
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return "[" * 3000
