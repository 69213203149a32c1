"""Unpacks a column of many packed hours at once, for reports and dossiers, which read thousands.

NumPy is used where a program has loaded it in order to judge. The hub has not: it reads few hours
at a time, and is spared the library's memory.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jharnet_monitor.store.columns import (
    Number,
    integers_of,
    numbers_of,
    unpack_integers,
    unpack_numbers,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from jharnet_monitor.store.columns import Integers


class Packed(NamedTuple):
    """A packed column and the count of its numbers."""

    data: bytes
    size: int


Part = Packed | Sequence[Number]
"""A packed column, or numbers that were unpacked already."""
_Alike = tuple[int, int, bool, int]
"""Divisor, width, whether steps, and count: columns with the same are unpacked together."""


def unpack_starts(parts: Sequence[Part]) -> array[int]:
    """The whole numbers of all parts, in order; raises `ValueError` where one is damaged."""
    found: array[int] = array("q")
    _unpack(found, parts, integers_of, unpack_integers)
    return found


def unpack_values(parts: Sequence[Part]) -> array[float]:
    """The numbers of all parts, in order; raises `ValueError` where one is damaged."""
    found: array[float] = array("d")
    _unpack(found, parts, numbers_of, unpack_numbers)
    return found


def _unpack(
    found: array[int] | array[float],
    parts: Sequence[Part],
    read: Callable[[bytes, int], Integers | None],
    unpack: Callable[[bytes, int], Sequence[Number]],
) -> None:
    if "numpy" in sys.modules:
        found.frombytes(_together(found.typecode, parts, read, unpack).tobytes())
        return
    for part in parts:
        found.extend(unpack(*part) if isinstance(part, Packed) else part)  # type: ignore[arg-type]


def _together(
    typecode: str,
    parts: Sequence[Part],
    read: Callable[[bytes, int], Integers | None],
    unpack: Callable[[bytes, int], Sequence[Number]],
) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415 - loaded already

    result = np.empty(sum(map(_size, parts)), dtype=typecode)
    alike: dict[_Alike, list[tuple[int, Integers]]] = {}
    end = 0
    for part in parts:
        begin, end = end, end + _size(part)
        if not isinstance(part, Packed):
            result[begin:end] = part
        elif (one := read(*part)) is None:
            result[begin:end] = unpack(*part)
        else:
            key = one.divisor, one.width, one.by_steps, part.size
            alike.setdefault(key, []).append((begin, one))
    for (divisor, width, by_steps, count), columns in alike.items():
        numbers = _numbers([one for _, one in columns], width, count - by_steps)
        if by_steps:
            firsts = np.array([[one.first] for _, one in columns], dtype=np.int64)
            numbers = np.hstack([firsts, firsts + numbers.cumsum(axis=1)])
        found = numbers / divisor if divisor else numbers
        if found.size == len(result):
            return found.ravel().astype(typecode)
        places = np.array([[begin] for begin, _ in columns]) + np.arange(count)
        result[places] = found
    return result


def _size(part: Part) -> int:
    return part.size if isinstance(part, Packed) else len(part)


def _numbers(columns: Sequence[Integers], width: int, stored: int) -> NDArray[np.int64]:
    """The stored numbers of columns of one width, a row each."""
    import numpy as np  # noqa: PLC0415 - loaded already

    found = np.array([[one.low] for one in columns], dtype=np.int64).repeat(stored, axis=1)
    data = b"".join(one.rest for one in columns)
    planes = np.frombuffer(data, dtype=np.uint8).reshape(len(columns), width, stored)
    for plane in range(width):
        found += planes[:, plane].astype(np.int64) << 8 * plane
    return found
