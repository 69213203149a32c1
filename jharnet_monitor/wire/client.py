"""The client of the hub's API, for commands."""

from __future__ import annotations

import asyncio
import os
import pwd
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.wire.connect_errors import certificate_fault, describe_error

if TYPE_CHECKING:
    from jharnet_monitor.config import Config


def login_name() -> str:
    """The name of the user who runs this command, for the audit log; it is not verified."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return name if name.isascii() and name.isprintable() else ascii(name)


SLOW_SECONDS = 1800.0
"""A heavy probe may wait this long for its turn."""


LATER = {408, 429}
"""Statuses below 500 of an answer that may be another one soon."""


class HubRefusal(UserError):
    """The hub refused; `reason` is what it answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the hub refused (HTTP {status}): {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HubClient:
    """The hub's address, the API's token and the authority to trust."""

    base: str
    token: str | None
    ca: Path | None = None

    @classmethod
    def from_config(cls, config: Config) -> HubClient:
        """The client for this configuration's hub, at its listen address or on this machine."""
        hub = config.hub
        here = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = here.get(hub.host, hub.host)
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if hub.tls else "http"
        token = None
        if hub.api_token_file is not None:
            token = hub.api_token_file.read_text("utf-8").strip()
        return cls(f"{scheme}://{host}:{hub.port}", token, hub.tls.certificate if hub.tls else None)

    def get(self, path: str) -> Any:
        """The JSON answer of a GET.

        Raises `HubRefusal` if the hub refuses, and `TemporaryError` if no hub answers or it
        cannot answer now; both say what to do next.
        """
        return asyncio.run(self._request("GET", path, None))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer of a POST; raises as `get` does."""
        return asyncio.run(self._request("POST", path, body or {}))

    def delete(self, path: str) -> Any:
        """The JSON answer of a DELETE; raises as `get` does."""
        return asyncio.run(self._request("DELETE", path, None))

    def _tls(self) -> ssl.SSLContext | bool:
        if not self.base.startswith("https") or self.ca is None:
            return True
        context = ssl.create_default_context(cafile=str(self.ca))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # `ca` is the hub's certificate
        context.check_hostname = False  # the listen address need not be in the certificate
        return context

    async def _request(self, method: str, path: str, body: Any) -> Any:
        headers = {"Jharnet-User": login_name()}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        timeout = aiohttp.ClientTimeout(total=SLOW_SECONDS, sock_connect=5)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
                session.request(method, self.base + path, json=body, ssl=self._tls()) as answer,
            ):
                return await self._read(answer)
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise self._unanswered(error) from error
        except aiohttp.ClientPayloadError as error:
            raise TemporaryError(f"the answer of {self.base} breaks off; try again") from error
        except aiohttp.ClientError as error:
            raise self._no_hub("its answer is not HTTP") from error

    def _no_hub(self, how: str) -> TemporaryError:
        """The error for an answer that no hub gives; `how` says by what that is seen."""
        return TemporaryError(
            f"what answers at {self.base} is no hub ({how}): stop that program, or give the hub "
            "another address by `hub.listen`"
        )

    def object_with(self, answer: Any, *keys: str) -> dict[str, Any]:
        """The answer, if it is an object with these keys; raises `TemporaryError` if it is not."""
        for key in keys:
            if not isinstance(answer, dict) or key not in answer:
                raise self.unreadable(f"no `{key}`")
        found: dict[str, Any] = answer
        return found

    def unreadable(self, how: str) -> TemporaryError:
        """The error for JSON that this version's hub does not give."""
        return TemporaryError(
            f"the answer of {self.base} is not that of a hub of this version ({how}): restart the "
            "hub if it is an older one; another program must be stopped, or `hub.listen` changed"
        )

    def _unanswered(self, error: Exception) -> UserError | TemporaryError:
        """The error for a hub that did not answer, with what to do next."""
        if certificate_fault(error) is not None:
            return UserError(
                f"the hub at {self.base} shows another certificate than {self.ca}: it shows a "
                "renewed one within a minute; else restart the hub, so that it uses the one that "
                "its configuration names"
            )
        return TemporaryError(
            f"no hub answers at {self.base} ({describe_error(error)}): is it running? Start it "
            "with `jharnet-monitor run --config FILE`; its address is `hub.listen` in that file"
        )

    async def _read(self, answer: aiohttp.ClientResponse) -> Any:
        try:
            data = await answer.json()
        except (aiohttp.ContentTypeError, ValueError):
            if answer.ok:
                raise self._no_hub("its answer is not JSON") from None
            data = {"error": (await answer.text(errors="replace"))[:300]}
        if answer.status >= 400:
            message = data.get("error", "") if isinstance(data, dict) else ""
            if answer.status >= 500:
                raise TemporaryError(f"the hub failed (HTTP {answer.status}): {message}")
            if answer.status in LATER:
                raise TemporaryError(f"the hub refused for now (HTTP {answer.status}): {message}")
            raise HubRefusal(answer.status, message)
        return data
