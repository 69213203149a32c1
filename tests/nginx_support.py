"""An nginx at headquarters of the lab, in front of the hub, as `help/install.md` sets one up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from jharnet_monitor.demo.setup import PORT
from jharnet_monitor.lab import HEADQUARTERS
from tests.conftest import find_program
from tests.page_support import OFFICE, PageLab
from tests.turn_support import HEADQUARTERS_PC, listens

PROXY_PORT, PATH = 8080, "/jharnet"
BEHIND_PROXY: dict[str, Any] = {
    "url": f"http://{HEADQUARTERS_PC}:{PROXY_PORT}{PATH}",
    "trusted_proxies": [HEADQUARTERS_PC],
}
"""The section `hub` of the configuration of a hub behind it."""
KEEPING = "client_max_body_size 0;"
STREAMING = """proxy_buffering off;
      proxy_request_buffering off;
      client_max_body_size 0;"""
CONFIG = """daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
  access_log off;
  {temporary}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen {address}:{port};
    location {path}/ {{
      proxy_pass http://{address}:{hub_port}/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 120s;
      {passing}
    }}
  }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(one: PageLab, passing: str = STREAMING) -> AsyncIterator[str]:
    """The proxy, with these settings of how it passes on; the office's link through it."""
    directory = one.directory / "nginx"
    directory.mkdir(exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    file, log = directory / "nginx.conf", directory / "log"
    file.write_text(CONFIG.format(
        directory=directory, temporary=temporary, address=HEADQUARTERS_PC, port=PROXY_PORT,
        path=PATH, hub_port=PORT, passing=passing,
    ))  # fmt: skip
    argv = [find_program("nginx") or "nginx", "-p", str(directory), "-c", str(file)]
    with log.open("wb") as out:
        server = one.lab.popen(HEADQUARTERS, argv, stdout=out, stderr=out)
        try:
            async with asyncio.timeout(60):
                while not listens(one, PROXY_PORT):
                    assert server.poll() is None, log.read_text("utf-8", "replace")
                    await asyncio.sleep(0.05)
            yield f"{BEHIND_PROXY['url']}/join/{OFFICE}#{one.link.partition('#')[2]}"
        finally:
            server.terminate()
            server.wait()
