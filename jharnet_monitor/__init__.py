"""jharnet-monitor: what every block office's link really delivers, with evidence."""

__version__ = "0.1.0"
