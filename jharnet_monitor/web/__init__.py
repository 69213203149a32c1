"""What the hub serves over HTTP: pages for people, an API for programs, and metrics."""

from jharnet_monitor.web.app import make_app
from jharnet_monitor.web.hub_api import HubApi

__all__ = ["HubApi", "make_app"]
