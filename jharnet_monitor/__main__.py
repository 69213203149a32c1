"""`python -m jharnet_monitor` is `jharnet-monitor`."""

from jharnet_monitor.cli import main

main()
