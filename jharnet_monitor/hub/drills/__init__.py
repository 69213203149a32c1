"""Drills: conferences with all offices at once, like the Deputy Commissioner's real one."""

from jharnet_monitor.hub.drills.manager import DrillManager

__all__ = ["DrillManager"]
