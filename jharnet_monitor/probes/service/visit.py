"""One visit to a web page like a browser's, without the resources that the page loads. Proxies are
taken from the environment (`https_proxy`, `no_proxy`, …), as with aiohttp's `trust_env`. Unlike
with that, `~/.netrc` is not read: a measurement never signs in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.service.order import MOST_REDIRECTS, SCHEMES, VisitOrder
from jharnet_monitor.probes.service.result import VisitResult
from jharnet_monitor.probes.service.stopwatch import Phase, Stopwatch

HEADERS = {"User-Agent": "jharnet-monitor", "Accept": "text/html,*/*", "Accept-Encoding": "gzip"}
CHUNK_BYTES = 16_384
MOST_TEXT = 4
"""A compressed page is searched up to this multiple of the bytes that may be fetched."""
LATE_SECONDS, LATE_SHARE = 0.1, 0.1
"""If the program wakes up later than this, the computer did not keep up; if that is more than this
share of a visit, the computer limited the visit."""
CERTIFICATE_SECONDS = 5.0
PER_CONNECTION_BYTES, PER_PAGE_BYTES, PER_BODY_BYTE = 7_000, 2_500, 1.06
"""Bytes that a visit puts on the line: handshakes with certificates, headers of a page, framing."""


class VisitFailed(Exception):
    """The visit had no full result."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


async def visit(
    order: VisitOrder, now: Callable[[], float], resolver: AbstractResolver | None = None
) -> VisitResult:
    """Fetch the page; never raises for what the network or the service does.

    `resolver` replaces the system's resolver. The result of a visit that broke off has the
    completed phases, and the phase in which it broke off.
    """
    context = await asyncio.to_thread(_tls_context, order.ca)
    one = _Visit(order, Stopwatch(now), resolver)
    one.watch.watch(context)
    result = one.result
    try:
        async with (
            _lateness(now) as late,
            asyncio.timeout(order.seconds),
            one.session(context) as http,
        ):
            one.watch.start()
            await one.run(http)
    except TimeoutError:
        result.cause = Cause.TIMEOUT
    except VisitFailed as error:
        result.cause, result.detail = error.cause, error.detail
    except (aiohttp.ClientError, OSError, ValueError) as error:
        result.cause, result.detail = _cause_of(error)
    if one.watch.phase is not None:
        result.phase = one.watch.phase
        one.watch.stop()
    if late[0] > max(LATE_SECONDS, LATE_SHARE * one.watch.total):
        result.cause, result.detail = Cause.HOST_OVERLOADED, f"overslept {late[0]:.2f} s"
    result.take(one.watch)
    if result.cause is Cause.CERTIFICATE_INVALID and not result.proxied:
        result.certificate_expires = await _expiry(one.page)
    return result


class _Visit:
    def __init__(
        self, order: VisitOrder, watch: Stopwatch, resolver: AbstractResolver | None
    ) -> None:
        self._order = order
        self._resolver = resolver
        self.watch = watch
        self.page = URL(order.url)
        self.result = VisitResult()

    @asynccontextmanager
    async def session(self, context: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
        """A session with a new connection for each page, so that nothing is reused."""
        connector = aiohttp.TCPConnector(
            ssl=context,
            use_dns_cache=False,
            resolver=self._resolver or aiohttp.ThreadedResolver(),
            force_close=True,
        )
        trace = self.watch.trace()
        trace.on_connection_create_start.append(self._connecting)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers=HEADERS,
            trace_configs=[trace],
            auto_decompress=False,
        ) as http:
            yield http

    async def _connecting(self, *_: object) -> None:
        self.result.spent += PER_CONNECTION_BYTES

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Follow redirects to the page and read it."""
        for _ in range(MOST_REDIRECTS + 1):
            there = await self._fetch(http)
            if there is None:
                return
            self.page = there
            self.watch.enter(Phase.CONNECT)
        raise VisitFailed(Cause.REDIRECTED, f"redirected more than {MOST_REDIRECTS} times")

    async def _fetch(self, http: aiohttp.ClientSession) -> URL | None:
        """Read a page; returns the target of its redirect, if any."""
        proxy, result = _proxy(self.page), self.result
        result.proxied, result.requests = proxy is not None, result.requests + 1
        result.spent += PER_PAGE_BYTES
        async with http.get(self.page, proxy=proxy, allow_redirects=False) as response:
            result.status = response.status
            text = await self._read(response)
            self.watch.stop()
        if 300 <= response.status < 400 and "Location" in response.headers:
            there = self._order.next_page(self.page, response.headers["Location"])
            if there is None:
                raise VisitFailed(Cause.REDIRECTED, self._onward(response.headers["Location"]))
            return there
        if response.status >= 400:
            raise VisitFailed(Cause.HTTP_ERROR, f"HTTP {response.status}")
        wanted = self._order.expect
        if wanted is not None and not _contains(text, wanted, response.charset):
            raise VisitFailed(Cause.WRONG_PAGE, "the expected text is not on the page")
        return None

    def _onward(self, location: str) -> str:
        """The detail for a refused redirect: its host, without path and query, which may hold
        secrets."""
        with contextlib.suppress(ValueError):
            there = self.page.join(URL(location))
            if there.host and there.scheme in SCHEMES:
                return f"redirected to {there.scheme}://{there.host}, which `hosts` does not list"
        return "redirected to a forbidden address"

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The decompressed body, up to the limit; bytes are counted as they arrive on the line."""
        result, most = self.result, self._order.most
        packed = response.headers.get("Content-Encoding", "") in ("gzip", "x-gzip")
        unpacker = zlib.decompressobj(wbits=31) if packed else None
        text, seen = bytearray(), 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            seen += len(chunk)
            result.spent += int(len(chunk) * PER_BODY_BYTE)
            room = MOST_TEXT * most - len(text)
            if unpacker is None:
                text += chunk
            elif room > 0:
                with contextlib.suppress(zlib.error):
                    text += unpacker.decompress(chunk, room)
            if seen > most:
                result.truncated = True
                response.close()
                break
        result.bytes = seen
        return bytes(text)


@asynccontextmanager
async def _lateness(now: Callable[[], float]) -> AsyncIterator[list[float]]:
    """Measure how late this computer's timers are, in total: `[seconds]`."""
    late = [0.0]

    async def watch() -> None:
        while True:
            before = now()
            await asyncio.sleep(LATE_SECONDS)
            late[0] += max(0.0, now() - before - 2 * LATE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watching.cancel()


def _tls_context(ca: str | None) -> ssl.SSLContext:
    """A context for HTTP/1.1 that trusts the system's authorities and the certificates in `ca`."""
    context = ssl.create_default_context()
    if ca is not None:
        with contextlib.suppress(ssl.SSLError):  # then the service's certificate is not valid
            context.load_verify_locations(cadata=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(url: URL) -> str | None:
    """The environment's proxy for a page."""
    if proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return getproxies().get(url.scheme)


def _contains(text: bytes, wanted: str, charset: str | None) -> bool:
    for encoding in (charset, "utf-8"):
        with contextlib.suppress(LookupError, UnicodeError):
            if encoding and wanted.encode(encoding) in text:
                return True
    return False


_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (aiohttp.ClientConnectorDNSError, Cause.NAME_NOT_RESOLVED),
    (aiohttp.ClientConnectorCertificateError, Cause.CERTIFICATE_INVALID),
    (aiohttp.ClientProxyConnectionError, Cause.PROXY_FAILED),
    (aiohttp.ClientHttpProxyError, Cause.PROXY_FAILED),
    (aiohttp.ClientSSLError, Cause.TLS_ERROR),
    (ssl.SSLError, Cause.TLS_ERROR),
    (aiohttp.ClientConnectorError, Cause.CONNECTION_FAILED),
    (aiohttp.ClientResponseError, Cause.HTTP_ERROR),  # the answer is not HTTP
)
"""The first match is used."""


def _cause_of(error: Exception) -> tuple[Cause, str]:
    """What an error of the connection means; the detail names neither address nor proxy."""
    cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.INTERRUPTED)
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    for attribute in ("verify_message", "reason", "strerror"):
        text = getattr(inner, attribute, None)
        if isinstance(text, str) and text:
            return cause, text[:100]
    return cause, type(error).__name__


_load_certificate = Deferred("cryptography.x509:load_der_x509_certificate")
"""Deferred, because an agent rarely needs it and it takes 8 MB."""


async def _expiry(page: URL) -> float | None:
    """When a refused certificate expires, in seconds since 1970. It is read over an unverified
    connection, over which nothing is sent or requested."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(CERTIFICATE_SECONDS):
            _, writer = await asyncio.open_connection(page.host, page.port, ssl=context)
        try:
            raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            expires: float = _load_certificate(raw).not_valid_after_utc.timestamp()
            return expires
        finally:
            writer.transport.abort()
    return None
