"""Drills: conferences with every office at the same time, as the DC's real one."""

from jharnet_monitor.hub.drills.manager import DrillManager

__all__ = ["DrillManager"]
