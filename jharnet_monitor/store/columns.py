"""Packs columns of numbers and ids into few bytes, and unpacks exactly what was packed.

A column is stored as whole numbers: as it is, or as the differences between neighbours where these
lie closer together. The smallest is taken off, and the rest is split into planes of bytes, which
zlib compresses almost to their entropy. Floating-point numbers with few decimals become whole
numbers first; the quotient that is computed back is the same number to the last bit.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

Number = int | float

_MOST_DECIMALS = 9
_EXACT = 2**53
"""Whole numbers below this are exact as floating-point numbers."""
_DOUBLES, _INTEGERS, _JSON = 20, 21, 22
"""Tags of a column; a lower tag is the number of decimals."""
_HEX, _COUNTED, _TEXTS = 0, 1, 2
_WIDTHS = {1: (1, "B"), 2: (2, "H"), 3: (4, "I"), 4: (4, "I"), 5: (8, "Q"), 6: (8, "Q"),
           7: (8, "Q"), 8: (8, "Q")}  # fmt: skip
"""Bytes a number is padded to, and the array's code, by the bytes that are stored."""
_COUNTED_ID = re.compile(r"(.*)-(0|[1-9]\d{0,14})", re.DOTALL)
_HEX_ID = re.compile("[0-9a-f]{32}")


def join(parts: Sequence[bytes]) -> bytes:
    """Parts of any length as one."""
    return _varints([len(parts), *map(len, parts)]) + b"".join(parts)


def split(data: bytes) -> list[bytes]:
    """The parts that `join` joined; raises `ValueError` for anything else."""
    (count,), at = _read_varints(data, 0, 1)
    lengths, at = _read_varints(data, at, count)
    if at + sum(lengths) != len(data):
        raise ValueError("the parts have other lengths than they say")
    ends = list(accumulate(lengths, initial=at))
    return [data[begin:end] for begin, end in pairwise(ends)]


def pack_integers(values: Sequence[int]) -> bytes:
    """Whole numbers of at most 63 bits; raises `OverflowError` for larger ones."""
    if not values:
        return b""
    steps = [after - before for before, after in pairwise(values)]
    by_steps = len(steps) > 1 and max(steps) - min(steps) < max(values) - min(values)
    column, first = (steps, values[0]) if by_steps else (values, 0)
    low = min(column)
    rest = [value - low for value in column]
    width = (max(rest).bit_length() + 7) // 8
    head = _varints([width << 1 | by_steps, _folded(low), _folded(first)])
    if width == 0:
        return head
    padded, code = _WIDTHS[width]
    flat = array(code, rest).tobytes()
    return head + b"".join(flat[plane::padded] for plane in range(width))


def unpack_integers(data: bytes, count: int) -> Sequence[int]:
    """The `count` whole numbers that were packed; raises `ValueError` for anything else."""
    if not count:
        return ()
    (head, low, first), at = _read_varints(data, 0, 3)
    width, by_steps = head >> 1, bool(head & 1)
    low, first, stored = _unfolded(low), _unfolded(first), count - by_steps
    if width > 8 or len(data) - at != width * stored:
        raise ValueError("a column has another length than its rows")
    if width == 0:
        return range(first, first + low * count, low) if by_steps and low else (
            [first if by_steps else low] * count)  # fmt: skip
    rest = data[at:] if width == 1 else _from_planes(data[at:], width, stored)
    if by_steps:
        return list(accumulate(map(low.__add__, rest), initial=first))
    return list(map(low.__add__, rest)) if low else list(rest)


class Integers(NamedTuple):
    """A column of whole numbers whose bytes are still in planes: what `unpack_integers` reads.

    The numbers are to be divided by `divisor`; 0 means that they stay whole.
    """

    divisor: int
    width: int
    by_steps: bool
    low: int
    first: int
    rest: bytes


def integers_of(data: bytes, count: int, divisor: int = 0) -> Integers | None:
    """The parts of a column that `pack_integers` packed; None for one that is empty or damaged."""
    if not count:
        return None
    (head, low, first), at = _read_varints(data, 0, 3)
    width, by_steps, rest = head >> 1, bool(head & 1), data[at:]
    if width > 8 or len(rest) != width * (count - by_steps):
        return None
    return Integers(divisor, width, by_steps, _unfolded(low), _unfolded(first), rest)


def numbers_of(data: bytes, count: int) -> Integers | None:
    """The same of a column that `pack_numbers` packed; None also for one of another kind."""
    if data[0] == _INTEGERS:
        return integers_of(data[1:], count)
    return integers_of(data[1:], count, 10 ** data[0]) if data[0] <= _MOST_DECIMALS else None


def _from_planes(data: bytes, width: int, stored: int) -> array[int]:
    """Numbers of `width` bytes, of which first all lowest bytes are stored, then all next ones."""
    padded, code = _WIDTHS[width]
    flat = bytearray(padded * stored)
    for plane in range(width):
        flat[plane::padded] = data[plane * stored : (plane + 1) * stored]
    return array(code, bytes(flat))


def pack_numbers(values: Sequence[Number]) -> bytes:
    """Finite numbers; whole ones and floating-point ones stay what they are."""
    kinds = set(map(type, values))
    if kinds <= {int} and all(abs(value) < _EXACT for value in values):
        return bytes([_INTEGERS]) + pack_integers([int(value) for value in values])
    if kinds != {float}:
        return bytes([_JSON]) + json.dumps(list(values), separators=(",", ":")).encode()
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = _scaled(values, 10**decimals)
        if scaled is not None:
            return bytes([decimals]) + pack_integers(scaled)
    return bytes([_DOUBLES]) + array("d", values).tobytes()


def unpack_numbers(data: bytes, count: int) -> Sequence[Number]:
    """The numbers that were packed; raises `ValueError` for anything else."""
    tag, rest = data[0], data[1:]
    if tag == _INTEGERS:
        return unpack_integers(rest, count)
    if tag == _JSON:
        found: list[Number] = json.loads(rest)
    elif tag == _DOUBLES:
        return array("d", rest)
    elif tag <= _MOST_DECIMALS:
        scale = 10**tag
        return [value / scale for value in unpack_integers(rest, count)]
    else:
        raise ValueError("a column of a kind that this program does not know")
    return found


def pack_ids(ids: Sequence[str]) -> bytes:
    """Ids: of 32 hexadecimal digits, or a prefix and a count (`CountedIds`), or any texts."""
    if all(map(_HEX_ID.fullmatch, ids)):
        return bytes([_HEX]) + bytes.fromhex("".join(ids))
    parts = [_COUNTED_ID.fullmatch(one) for one in ids]
    counted = [(part[1], int(part[2])) for part in parts if part is not None]
    if len(counted) < len(ids):
        return bytes([_TEXTS]) + json.dumps(list(ids), ensure_ascii=False).encode()
    prefixes = list(dict.fromkeys(prefix for prefix, _ in counted))
    index = {prefix: number for number, prefix in enumerate(prefixes)}
    return bytes([_COUNTED]) + join([
        json.dumps(prefixes, ensure_ascii=False).encode(),
        pack_integers([index[prefix] for prefix, _ in counted]),
        pack_integers([number for _, number in counted]),
    ])  # fmt: skip


def unpack_ids(data: bytes, count: int) -> Sequence[str]:
    """The ids that were packed; raises `ValueError` for anything else."""
    tag, rest = data[0], data[1:]
    if tag == _HEX:
        return [rest[at : at + 16].hex() for at in range(0, len(rest), 16)]
    if tag == _COUNTED:
        texts, index, numbers = split(rest)
        prefixes = json.loads(texts)
        which, counts = unpack_integers(index, count), unpack_integers(numbers, count)
        return [f"{prefixes[one]}-{number}" for one, number in zip(which, counts, strict=True)]
    found: list[str] = json.loads(rest)
    return found


def _scaled(values: Sequence[Number], scale: int) -> list[int] | None:
    """The numbers times the scale, if they are whole then and the way back is exact."""
    found = []
    for value in values:
        whole = round(value * scale) if abs(value) * scale < _EXACT else _EXACT
        if abs(whole) >= _EXACT or whole / scale != value:
            return None
        if not whole and math.copysign(1, value) < 0:  # -0.0 has no whole number
            return None
        found.append(whole)
    return found


def _folded(value: int) -> int:
    """Whole numbers from 0 on for 0, -1, 1, -2 …"""
    return value << 1 if value >= 0 else ~value << 1 | 1


def _unfolded(value: int) -> int:
    return ~(value >> 1) if value & 1 else value >> 1


def _varints(values: Sequence[int]) -> bytes:
    """Numbers from 0 on, seven bits a byte, the lowest first."""
    found = bytearray()
    for value in values:
        rest = value
        while rest > 0x7F:
            found.append(rest & 0x7F | 0x80)
            rest >>= 7
        found.append(rest)
    return bytes(found)


def _read_varints(data: bytes, at: int, count: int) -> tuple[list[int], int]:
    """So many numbers from a place on, and the place after them."""
    plain = data[at : at + count]
    if plain.isascii() and len(plain) == count:  # a byte each, as most; a report reads millions
        return list(plain), at + count
    found, size = [], len(data)
    for _ in range(count):
        if at >= size:
            raise ValueError("ends within a number")
        value = data[at]
        at += 1
        if value > 0x7F:
            value, shift, byte = value & 0x7F, 7, value
            while byte & 0x80:
                if at >= size:
                    raise ValueError("ends within a number")
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
        found.append(value)
    return found, at
