"""Why a hub could not be reached, in words for the person who can mend it."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import aiohttp

_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)
"""OpenSSL's numbers (`X509_V_ERR_…`) of a certificate's faults: its time, its name or address."""


def why(error: BaseException) -> str:
    """What stood in the way, without the insides of a library.

    >>> why(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9797)"))
    'connection refused'
    >>> why(TimeoutError())
    'no answer in time'
    """
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return why(error.os_error)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"it answers, but not with TLS as is asked for ({reason})"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        text = os.strerror(error.errno)
        return text[0].lower() + text[1:]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error) or type(error).__name__


def certificate_fault(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The fault of the certificate, where that was what stood in the way."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    return error if isinstance(error, ssl.SSLCertVerificationError) else None


def certificate_remedy(fault: ssl.SSLCertVerificationError, ca: Path | None) -> str:
    """What an agent's owner can do; `ca` is the authority that the agent was told to trust."""
    if fault.verify_code == _EXPIRED:
        return "it is over: `jharnet-monitor tls init --renew` on the hub, or set this PC's clock"
    if fault.verify_code == _NOT_YET:
        return "it is not valid yet: set this PC's clock"
    if fault.verify_code in _OTHER_NAME:
        return (
            "it is not for the address in --hub: give the name or address that it is for, or make "
            "it anew with `jharnet-monitor tls init --renew --name NAME --ip ADDRESS` on the hub"
        )
    if ca is None:
        return (
            "give --ca ca.pem, a copy of the file that `jharnet-monitor tls init` made on the hub"
        )
    return f"{ca} is not of the authority that signed it: copy ca.pem from the hub anew"
