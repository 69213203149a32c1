"""The district in Linux network namespaces, over emulated links with known delay, loss and rate."""

from jharnet_monitor.agent.machine import BOOT_ID_VARIABLE
from jharnet_monitor.lab.client import Lab, take_down
from jharnet_monitor.lab.layout import HEADQUARTERS, UPLINK, Addresses
from jharnet_monitor.lab.packet_log import EchoPacket
from jharnet_monitor.lab.spec import LabSpec, LinkDirection, LinkSpec, Loss, parse_spec

__all__ = [
    "BOOT_ID_VARIABLE",
    "HEADQUARTERS",
    "UPLINK",
    "Addresses",
    "EchoPacket",
    "Lab",
    "LabSpec",
    "LinkDirection",
    "LinkSpec",
    "Loss",
    "parse_spec",
    "take_down",
]
