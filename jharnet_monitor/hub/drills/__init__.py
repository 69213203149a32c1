"""The drill: every office at the same time, as in the DC's real conference."""

from jharnet_monitor.hub.drills.hold import Drills

__all__ = ["Drills"]
