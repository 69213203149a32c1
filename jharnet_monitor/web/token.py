"""Reads the API token."""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger(__name__)


def read_token(path: Path) -> str | None:
    """The token in a file; None, and a line in the log, when it cannot be read or is empty."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        _log.error("the API token cannot be read: %s", error)
        return None
    return token or None
