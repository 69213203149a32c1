"""The clips: made once, cached, replaced when damaged, and prepared in the background."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest

from jharnet_monitor.profiles import RUNGS
from jharnet_monitor.rtc.codecs import parse_vp8
from jharnet_monitor.rtc.media import clips


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests, and after them, the clips may take as long as they need."""
    monkeypatch.setattr(clips, "_ENCODING_TIMEOUT_SECONDS", 3000.0)


def test_clips() -> None:
    """Every rung has a clip with its height and rate, a keyframe a second and motion."""
    for step in RUNGS[1:]:
        clip = clips.video_clip(step)
        assert clip.keyframes == (0, 30, 60, 90)
        rate = sum(map(len, clip.frames)) * 8 / clips.LOOP_SECONDS
        assert rate == pytest.approx(step.video, rel=0.1)
        found = parse_vp8(b"\x10" + clip.frames[0], 0)
        assert (found.starts_frame, found.is_key, found.height) == (True, True, step.height)
        assert len(set(clip.frames)) > 100
    assert {len(frame) for frame in clips.audio_clip().frames} == {100}


def test_clips_are_cached_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is filled at first use; a damaged clip is replaced, the others are kept."""
    monkeypatch.setenv("JHARNET_MONITOR_CACHE", str(tmp_path))
    monkeypatch.setattr(clips, "_clips", {})
    clips.prepare_clips()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.webm")}
    assert len(made) == len(RUNGS)
    damaged = tmp_path / clips.video_name(RUNGS[1])
    damaged.write_bytes(damaged.read_bytes()[:3000])
    monkeypatch.setattr(clips, "_clips", {})
    clips.prepare_clips()
    changed = [path for path, moment in made.items() if path.stat().st_mtime_ns != moment]
    assert changed == [damaged]


def test_a_loaded_clip_needs_no_lock() -> None:
    """Loaded clips are available while those of another codec are being made."""
    clips.prepare_clips("vp8")
    taken: list[clips.Clip] = []
    thread = threading.Thread(
        target=lambda: taken.extend(clips.video_clip(rung) for rung in RUNGS[1:]), daemon=True
    )
    with clips._load_lock:
        thread.start()
        thread.join(60)
        assert len(taken) == len(RUNGS) - 1


def _clip_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "clips"]


def test_clips_are_prepared_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread prepares the clips and logs the output of the clip maker, and its failure."""
    monkeypatch.setenv("JHARNET_MONITOR_CACHE", str(tmp_path))
    monkeypatch.setattr(clips, "_clips", {})
    monkeypatch.setattr(clips, "RUNGS", RUNGS[:2])
    # A clip maker that prints one name and makes nothing.
    (tmp_path / "maker").write_text("#!/bin/sh\necho 180p-40k.webm\n")
    (tmp_path / "maker").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "maker"))
    with caplog.at_level(logging.INFO):
        clips.prepare_clips_in_background("vp8")
        for thread in _clip_threads():
            thread.join(60)
    assert "making the vp8 clips" in caplog.text and "clip maker: 180p-40k.webm" in caplog.text
    assert "conference tests will not be possible" in caplog.text, "no clip was made"
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(clips.ClipsMissing, match="encoding failed"):
        clips.prepare_clips()
