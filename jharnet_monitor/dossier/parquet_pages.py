"""The pages of a Parquet file from an untrusted source, read without unpacking them.

The footer also states sizes, but nothing checks them. A reader unpacks each page into a buffer of
the size that the page's own header states, in the compact protocol of Thrift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ENCODINGS = frozenset({0, 2, 3, 8})
"""PLAIN, PLAIN_DICTIONARY, RLE and RLE_DICTIONARY: no value is longer than what stands for it in
the page, or in its dictionary. In others a text may share its beginning with the one before it."""
_SIZE, _PACKED_SIZE = 2, 3
_ENCODING_OF_KIND = {5: 2, 7: 2, 8: 4}
"""Data pages, dictionaries, and data pages of version 2: the field of their encoding."""
_MARK = b"PAR1"
_LARGEST_FOOTER = 1_000_000
_MOST_DEPTH = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE_NUMBERS = (4, 5, 6)


def unpacked_bytes(content: bytes) -> int:
    """How many bytes all pages unpack to; raises `ValueError` for what cannot be read.

    pyarrow would end the process over some footers whose columns it is asked for.
    """
    length = int.from_bytes(content[-8:-4], "little")
    if content[:4] != _MARK or content[-4:] != _MARK or length > _LARGEST_FOOTER:
        raise ValueError("it has no footer, or too large a one")
    footer = _Thrift(content, max(0, len(content) - 8 - length)).struct()
    columns = [one for group in _structs(footer, 4) for one in _structs(group, 1)]
    return sum(size for column in columns for size in _pages(content, column))


def _structs(fields: Mapping[int, Any], number: int) -> list[dict[int, Any]]:
    found = fields.get(number)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("its footer cannot be read")
    return found


def _pages(content: bytes, column: Mapping[int, Any]) -> Iterator[int]:
    described = column.get(3)
    if not isinstance(described, dict):
        raise ValueError("its footer cannot be read")
    length, begin, dictionary = (described.get(number) for number in (7, 9, 11))
    if not isinstance(length, int) or not isinstance(begin, int):
        raise ValueError("its footer cannot be read")
    if isinstance(dictionary, int) and dictionary > 0:
        begin = min(begin, dictionary) if begin else dictionary  # without rows there is no page
    end = begin + length
    if not 0 <= begin <= end <= len(content):
        raise ValueError("a column lies outside of the file")
    while begin < end:
        header = _Thrift(content, begin)
        fields = header.struct()
        size, packed = fields.get(_SIZE), fields.get(_PACKED_SIZE)
        if not (isinstance(size, int) and isinstance(packed, int) and size >= 0 and packed >= 0):
            raise ValueError("a page states no size")
        for kind, encoding in _ENCODING_OF_KIND.items():
            page = fields.get(kind, {encoding: 0})
            if not isinstance(page, dict) or page.get(encoding) not in ENCODINGS:
                raise ValueError("a page is encoded in a way that no dossier is")
        yield size
        begin = header.place + packed


@dataclass(slots=True)
class _Thrift:
    """Reads one structure; a field that occurs twice is refused."""

    content: bytes
    place: int

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields by number: whole numbers, structures and lists; others are None."""
        if depth > _MOST_DEPTH:
            raise ValueError("it is nested too deeply")
        fields: dict[int, Any] = {}
        last = 0
        while head := self._byte():
            last = last + (head >> 4) if head >> 4 else self._number()
            if last in fields:
                raise ValueError("it states something twice")
            fields[last] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _WHOLE_NUMBERS:
            return self._number()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_TRUE, _FALSE):
            return None
        if kind == _BYTE:
            self._skip(1)
        elif kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            self._skip(self._unsigned())
        elif kind in (_LIST, _SET):
            return self._list(depth)
        else:
            raise ValueError("it cannot be read")
        return None

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        found = []
        for _ in range(self._unsigned() if count == 15 else count):
            if kind in (_TRUE, _FALSE):
                self._skip(1)
            else:
                found.append(self._value(kind, depth + 1))
        return found

    def _byte(self) -> int:
        self._skip(1)
        return self.content[self.place - 1]

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.content):
            raise ValueError("it is cut off")

    def _unsigned(self) -> int:
        found = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("it holds a number that is too long")

    def _number(self) -> int:
        found = self._unsigned()
        return (found >> 1) ^ -(found & 1)
