"""Video codecs of a call, and the frame information at the start of their RTP payloads.

VP8 is what a browser prefers. H.264 is what room systems use, and the only codec that ITU-T
G.1070 rates. The parsers read only what is needed to count frames: where a frame starts, whether
it is a keyframe, and the height of its picture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

Codec = Literal["vp8", "h264"]
CODECS: Final[tuple[Codec, ...]] = get_args(Codec)
DEFAULT_CODEC: Final[Codec] = "vp8"


class PayloadInfo(NamedTuple):
    """What one packet's payload says about its frame; `height` is in lines, 0 if not given."""

    starts_frame: bool
    is_key: bool
    height: int


_CONTINUES = PayloadInfo(False, False, 0)
_STARTS = PayloadInfo(True, False, 0)


def parse_vp8(data: bytes, at: int) -> PayloadInfo:
    """Parse the VP8 payload of an RTP packet that starts at offset `at`.

    Reads the payload descriptor (RFC 7741, 4.2) and, at the start of a frame, the frame header
    (RFC 6386, 9.1). A truncated payload counts as the continuation of a frame.
    """
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
    return PayloadInfo(True, True, (data[at + 8] | data[at + 9] << 8) & 0x3FFF)


_SLICE, _SEI, _PARAMETERS, _DELIMITER, _AGGREGATE, _FRAGMENT = 1, 6, 7, 9, 24, 28
"""NAL unit types of ITU-T H.264, table 7-1, and the packet types of RFC 6184, 5.2."""


def parse_h264(data: bytes, at: int) -> PayloadInfo:
    """Parse the H.264 payload of an RTP packet (RFC 6184, packetization mode 1) at offset `at`.

    A keyframe starts with its parameter sets, which real-time encoders repeat before every
    keyframe. It cannot be decoded without them, so its slices do not count as a start. Any other
    frame starts with the slice that holds the first macroblock.
    """
    if at + 2 > len(data):
        return _CONTINUES
    packet_type = data[at] & 0x1F
    if packet_type == _AGGREGATE:
        size = int.from_bytes(data[at + 1 : at + 3])
        return _parse_nal_unit(data[at + 3 : at + 3 + size])
    if packet_type != _FRAGMENT:
        return _parse_nal_unit(data[at:])
    fragment_header = data[at + 1]
    if not fragment_header & 0x80:
        return _CONTINUES
    return _parse_nal_unit(bytes((fragment_header & 0x1F,)) + data[at + 2 : at + 66])


def _parse_nal_unit(unit: bytes) -> PayloadInfo:
    """Classify a NAL unit: whether it starts a frame, and a keyframe's height."""
    if len(unit) < 2:
        return _CONTINUES
    unit_type = unit[0] & 0x1F
    if unit_type == _PARAMETERS:
        return PayloadInfo(True, True, picture_height(unit))
    if unit_type in (_SEI, _DELIMITER):
        return _STARTS
    # A slice whose first Exp-Golomb bit is 1 has first_mb_in_slice = 0 (H.264, 7.3.3).
    return _STARTS if unit_type == _SLICE and unit[1] & 0x80 else _CONTINUES


_MAX_PARAMETER_BYTES = 64
"""Bytes of a sequence parameter set that are parsed; the height is within the first 20."""


class _BitReader:
    """Reads numbers of any width from bytes; raises `IndexError` past the end."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def unsigned(self, bits: int) -> int:
        """Read an unsigned number of `bits` bits."""
        if self._at + bits > len(self._bits):
            raise IndexError("past the end of the parameter set")
        self._at += bits
        return int(self._bits[self._at - bits : self._at] or "0", 2)

    def exp_golomb(self) -> int:
        """Read an unsigned Exp-Golomb code, ue(v) (ITU-T H.264, 9.1)."""
        zeros = self._bits.find("1", self._at) - self._at
        if not 0 <= zeros <= 20:
            raise IndexError("Exp-Golomb code longer than 20 bits")
        self._at += zeros
        return self.unsigned(zeros + 1) - 1


def picture_height(parameters: bytes) -> int:
    """Picture height in lines from a sequence parameter set (ITU-T H.264, 7.3.2.1.1).

    Supports the baseline, main and extended profiles. Returns 0 for the high profiles, which our
    calls do not use, and for a parameter set that cannot be read.
    """
    emulation_prevention = re.compile(b"\x00\x00\x03", re.DOTALL)
    payload = emulation_prevention.sub(b"\x00\x00", parameters[1:_MAX_PARAMETER_BYTES])
    reader = _BitReader(payload)
    try:
        if reader.unsigned(8) not in (66, 77, 88):  # profile_idc
            return 0
        reader.unsigned(16)  # constraint flags, level_idc
        reader.exp_golomb()  # seq_parameter_set_id
        reader.exp_golomb()  # log2_max_frame_num_minus4
        order_type = reader.exp_golomb()  # pic_order_cnt_type
        if order_type == 0:
            reader.exp_golomb()  # log2_max_pic_order_cnt_lsb_minus4
        elif order_type == 1:
            reader.unsigned(1)  # delta_pic_order_always_zero_flag
            reader.exp_golomb()  # offset_for_non_ref_pic
            reader.exp_golomb()  # offset_for_top_to_bottom_field
            for _ in range(min(reader.exp_golomb(), 255)):
                reader.exp_golomb()  # offset_for_ref_frame
        reader.exp_golomb()  # max_num_ref_frames
        reader.unsigned(1)  # gaps_in_frame_num_value_allowed_flag
        reader.exp_golomb()  # pic_width_in_mbs_minus1
        map_units = reader.exp_golomb() + 1  # pic_height_in_map_units_minus1
        frames_only = reader.unsigned(1)  # frame_mbs_only_flag
        if not frames_only:
            reader.unsigned(1)  # mb_adaptive_frame_field_flag
        reader.unsigned(1)  # direct_8x8_inference_flag
        lines = (2 - frames_only) * 16 * map_units
        if reader.unsigned(1):  # frame_cropping_flag: left, right, top, bottom offset
            reader.exp_golomb()
            reader.exp_golomb()
            lines -= (2 - frames_only) * 2 * (reader.exp_golomb() + reader.exp_golomb())
    except IndexError:
        return 0
    return lines if 0 < lines <= 16_384 else 0


PARSERS: Final[dict[Codec, Callable[[bytes, int], PayloadInfo]]] = {
    "vp8": parse_vp8,
    "h264": parse_h264,
}
