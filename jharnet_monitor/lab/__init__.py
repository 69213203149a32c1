"""The district in Linux network namespaces, over links whose delay, loss and rate are known."""

from jharnet_monitor.agent.machine import BOOT_ID_VARIABLE
from jharnet_monitor.lab.client import Lab
from jharnet_monitor.lab.layout import HEADQUARTERS, UPLINK, Addresses
from jharnet_monitor.lab.life import take_down
from jharnet_monitor.lab.packetlog import EchoPacket
from jharnet_monitor.lab.spec import LabSpec, LinkSpec, Loss, Way, parse_spec

__all__ = [
    "BOOT_ID_VARIABLE",
    "HEADQUARTERS",
    "UPLINK",
    "Addresses",
    "EchoPacket",
    "Lab",
    "LabSpec",
    "LinkSpec",
    "Loss",
    "Way",
    "parse_spec",
    "take_down",
]
