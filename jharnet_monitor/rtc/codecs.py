"""The video codecs of a call, and what the start of their RTP payloads tells.

VP8 is what a browser uses by itself; H.264 is what room systems speak, and the one codec that
ITU-T G.1070 rates. Read is only what a count of frames needs: where one starts, whether it
stands alone, and how high its picture is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

Codec = Literal["vp8", "h264"]
CODECS: Final[tuple[Codec, ...]] = get_args(Codec)
DEFAULT: Final[Codec] = "vp8"


class Piece(NamedTuple):
    """What one packet's payload tells of its frame; `height` is 0 where it does not say."""

    starts_frame: bool
    is_key: bool
    height: int


_CONTINUES = Piece(False, False, 0)
_STARTS = Piece(True, False, 0)


def parse_vp8(data: bytes, at: int) -> Piece:
    """Read the descriptor (RFC 7741, 4.2) and, at a frame's start, its header (RFC 6386, 9.1)."""
    end = len(data)
    if at >= end or not data[at] & 0x10 or data[at] & 0x07:
        return _CONTINUES
    extended = data[at] & 0x80
    at += 1
    if extended:
        if at >= end:
            return _CONTINUES
        flags = data[at]
        at += 1
        if flags & 0x80:
            at += 2 if at < end and data[at] & 0x80 else 1
        at += bool(flags & 0x40) + bool(flags & 0x30)
    if at >= end:
        return _CONTINUES
    if data[at] & 0x01:
        return _STARTS
    if at + 10 > end or data[at + 3 : at + 6] != b"\x9d\x01\x2a":
        return _STARTS
    return Piece(True, True, (data[at + 8] | data[at + 9] << 8) & 0x3FFF)


_SLICE, _SEI, _PARAMETERS, _DELIMITER, _AGGREGATE, _FRAGMENT = 1, 6, 7, 9, 24, 28
"""NAL unit types (H.264, table 7-1), and those of RFC 6184, 5.2."""


def parse_h264(data: bytes, at: int) -> Piece:
    """Read a payload of RFC 6184 (packetization mode 1).

    A keyframe starts with its parameter sets, which real-time encoders repeat before each one:
    without them it cannot be shown, so its slices start nothing. Any other frame starts with the
    slice that holds the first macroblock.
    """
    if at + 2 > len(data):
        return _CONTINUES
    kind = data[at] & 0x1F
    if kind == _AGGREGATE:
        size = int.from_bytes(data[at + 1 : at + 3])
        return _unit(data[at + 3 : at + 3 + size])
    if kind != _FRAGMENT:
        return _unit(data[at:])
    header = data[at + 1]
    if not header & 0x80:
        return _CONTINUES
    return _unit(bytes((header & 0x1F,)) + data[at + 2 : at + 66])


def _unit(unit: bytes) -> Piece:
    """What a NAL unit tells, if it is the first of its frame."""
    if len(unit) < 2:
        return _CONTINUES
    kind = unit[0] & 0x1F
    if kind == _PARAMETERS:
        return Piece(True, True, picture_height(unit))
    if kind in (_SEI, _DELIMITER):
        return _STARTS
    return _STARTS if kind == _SLICE and unit[1] & 0x80 else _CONTINUES


_LONGEST_SET = 64
"""Bytes of a sequence parameter set that are looked at; the height stands within the first 20."""


class _Bits:
    """Reads numbers bit by bit; `IndexError` past the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def number(self, bits: int) -> int:
        """An unsigned number of that many bits."""
        if self._at + bits > len(self._bits):
            raise IndexError("past the end")
        self._at += bits
        return int(self._bits[self._at - bits : self._at] or "0", 2)

    def golomb(self) -> int:
        """An unsigned exponential Golomb code (H.264, 9.1)."""
        zeros = self._bits.find("1", self._at) - self._at
        if not 0 <= zeros <= 20:
            raise IndexError("no number of any use")
        self._at += zeros
        return self.number(zeros + 1) - 1


def picture_height(parameters: bytes) -> int:
    """Lines of the picture, from a sequence parameter set (H.264, 7.3.2.1.1); 0 if unreadable.

    Baseline, main and extended profile; the high ones, which no call of ours has, read as 0.
    """
    payload = re.sub(b"\x00\x00\x03", b"\x00\x00", parameters[1:_LONGEST_SET], flags=re.DOTALL)
    bits = _Bits(payload)
    try:
        if bits.number(8) not in (66, 77, 88):
            return 0
        bits.number(16)
        bits.golomb()
        bits.golomb()
        order = bits.golomb()
        if order == 0:
            bits.golomb()
        elif order == 1:
            bits.number(1)
            bits.golomb()
            bits.golomb()
            for _ in range(min(bits.golomb(), 255)):
                bits.golomb()
        bits.golomb()
        bits.number(1)
        bits.golomb()
        rows = bits.golomb() + 1
        frames_only = bits.number(1)
        if not frames_only:
            bits.number(1)
        bits.number(1)
        lines = (2 - frames_only) * 16 * rows
        if bits.number(1):
            bits.golomb()
            bits.golomb()
            lines -= (2 - frames_only) * 2 * (bits.golomb() + bits.golomb())
    except IndexError:
        return 0
    return lines if 0 < lines <= 16_384 else 0


PARSERS: Final[dict[Codec, Callable[[bytes, int], Piece]]] = {
    "vp8": parse_vp8,
    "h264": parse_h264,
}
