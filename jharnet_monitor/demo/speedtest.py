"""`python -m jharnet_monitor.demo.speedtest HOST PORT`: a server for the Internet test."""

import sys

from aiohttp import web

from jharnet_monitor.lab.speedtest_server import SpeedtestServer, listen

if __name__ == "__main__":
    host, port = sys.argv[1:]
    web.run_app(SpeedtestServer().app(), sock=listen(host, int(port)), print=None)
