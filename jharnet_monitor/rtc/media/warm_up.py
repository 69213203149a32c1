"""What hub and agent do about conference calls when they start."""

from __future__ import annotations

import logging

from jharnet_monitor.rtc.aiortc_private import LibraryChanged, self_test
from jharnet_monitor.rtc.codecs import Codec
from jharnet_monitor.rtc.media.clips import prepare_ahead

log = logging.getLogger(__name__)


def warm_up(*codecs: Codec) -> None:
    """Test the library whose inside we touch, and prepare the clips in the background.

    With another library everything but calls goes on: each says `internal_error` and the version.
    """
    try:
        self_test()
    except LibraryChanged as error:
        log.critical("conference tests are not possible: %s", error)
        return
    prepare_ahead(*codecs)
