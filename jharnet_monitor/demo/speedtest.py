"""`python -m jharnet_monitor.demo.speedtest HOST PORT`: what stands for the Internet."""

import sys

from aiohttp import web

from jharnet_monitor.lab.speedtest_server import SpeedtestServer, listen

if __name__ == "__main__":
    host, port = sys.argv[1:]
    web.run_app(SpeedtestServer().app(), sock=listen(host, int(port)), print=None)
