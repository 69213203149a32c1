"""What the hub serves over HTTP: pages for people, an API for programs, and metrics."""

from jharnet_monitor.web.app import make_app
from jharnet_monitor.web.hubview import HubView

__all__ = ["HubView", "make_app"]
