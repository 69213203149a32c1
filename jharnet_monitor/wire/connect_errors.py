"""Why a hub could not be reached, in plain words, and what to do about it."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import aiohttp

_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)
"""OpenSSL's `X509_V_ERR_…` codes for a certificate's validity, and for its name or address."""


def describe_error(error: BaseException) -> str:
    """The cause in words, without a library's object names.

    >>> describe_error(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9797)"))
    'connection refused'
    >>> describe_error(TimeoutError())
    'no answer in time'
    """
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return describe_error(error.os_error)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"it answers, but the TLS handshake fails ({reason})"
    is_named = isinstance(error, socket.gaierror) or getattr(error, "winerror", None) is not None
    if isinstance(error, OSError) and not is_named and error.errno:
        text = os.strerror(error.errno)
        return text[0].lower() + text[1:]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


def certificate_fault(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The certificate's fault, if the connection failed because of it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    return error if isinstance(error, ssl.SSLCertVerificationError) else None


def certificate_remedy(fault: ssl.SSLCertVerificationError, ca: Path | None) -> str:
    """What to do at the agent; `ca` is the authority that the agent was given."""
    if fault.verify_code == _EXPIRED:
        return (
            "the certificate has expired: run `jharnet-monitor tls init --renew` on the hub, or "
            "set this PC's clock"
        )
    if fault.verify_code == _NOT_YET:
        return "the certificate is not valid yet: set this PC's clock"
    if fault.verify_code in _OTHER_NAME:
        return (
            "the certificate is not for the address in --hub: give one that it is for, or renew it "
            "with `jharnet-monitor tls init --renew --name NAME --ip ADDRESS` on the hub"
        )
    if ca is None:
        return (
            "give --ca ca.pem, a copy of the file that `jharnet-monitor tls init` made on the hub"
        )
    return f"{ca} is not the authority that signed it: copy ca.pem from the hub again"
