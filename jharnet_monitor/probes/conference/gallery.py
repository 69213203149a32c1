"""The gallery of a drill: each office receives small pictures of all others, and sends its own.

Pure: the options of its calls and its length.
"""

from __future__ import annotations

from jharnet_monitor.profiles import AUDIO_LINE_RATE, Profile, rungs_below

GALLERY_SHARE, GALLERY_SECONDS = 0.2, (10.0, 60.0)
"""The gallery takes this share of the conference's time, within these bounds."""
TILE_RATE = 130_000
"""bit/s of one small picture (180 lines) with its headers. Chromium shows 180p from about 85 kbit/s
of video on; the WebRTC library aims at 150 where nothing limits it."""
OWN_TILE = Profile.P360.value
"""What an office sends in the gallery: large enough to be enlarged when the office speaks."""
_FULL = (Profile.P360.value, Profile.P540, Profile.P720)


def gallery_options(joined: int) -> dict[str, str] | None:
    """The options of a gallery call with `joined` offices; None for fewer than two. An office
    receives the tiles of headquarters and of all other offices as one stream of the same rate: the
    least demanding rung that carries them, 720p at most.

    >>> gallery_options(11), gallery_options(4), gallery_options(1)
    ({'profile': '720p', 'up': '360p'}, {'profile': '540p', 'up': '360p'}, None)
    """
    if joined < 2:
        return None
    needed = joined * TILE_RATE + AUDIO_LINE_RATE
    wide = [step for step in rungs_below(Profile.P720.rung) if step.name in _FULL]
    fitting = [step for step in wide if step.line_rate >= 0.99 * needed]
    return {"profile": (fitting or wide[-1:])[0].name, "up": OWN_TILE}


def gallery_seconds(seconds: float) -> float:
    """Length of the gallery after a conference of `seconds`."""
    shortest, longest = GALLERY_SECONDS
    return min(longest, max(shortest, GALLERY_SHARE * seconds))
