"""The marks of packets: code points of Differentiated Services (RFC 2474)."""

from __future__ import annotations

DSCP_NAMES = {
    "EF": 46, "VA": 44, "LE": 1,
    **{f"CS{number}": 8 * number for number in range(8)},
    **{f"AF{c}{drop}": 8 * c + 2 * drop for c in range(1, 5) for drop in range(1, 4)},
}  # fmt: skip
"""Code points by name (RFC 2474, 2597, 3246, 5865, 8622)."""


def dscp_name(value: int) -> str:
    """The name of a code point, or its number.

    >>> dscp_name(46), dscp_name(34), dscp_name(0), dscp_name(5)
    ('EF', 'AF41', 'CS0', '5')
    """
    return next((name for name, point in DSCP_NAMES.items() if point == value), str(value))
