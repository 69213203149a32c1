"""Makes and reads the district's own certificate authority and the hub's certificate.

The certificates follow RFC 5280, so that OpenSSL's strict mode (Python 3.13) and Chrome accept
them once the authority is trusted: names in subjectAltName, key identifiers, critical basic
constraints.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jharnet_monitor.errors import UserError
from jharnet_monitor.security.tokens import check_private, write_secret

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""The longest validity that Apple's clients accept."""
BACKDATED = timedelta(days=1)
"""The clock of a block office may be slow."""


class Pair(Protocol):
    """A certificate and its key, as the configuration names them."""

    @property
    def certificate(self) -> Path:
        """PEM, followed by the certificates that signed it."""

    @property
    def key(self) -> Path:
        """PEM."""


Key = ec.EllipticCurvePrivateKey
Address = IPv4Address | IPv6Address
PRIVATE_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "::1/128",
    )
)
"""Networks that a district's authority may always sign for, so that the hub's address may
change."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that `tls init` writes."""

    directory: Path

    @property
    def authority(self) -> Path:
        """The authority's certificate, which agents and browsers trust."""
        return self.directory / "ca.pem"

    @property
    def authority_key(self) -> Path:
        """The authority's key: needed only for renewals, best kept offline."""
        return self.directory / "ca.key"

    @property
    def certificate(self) -> Path:
        """The hub's certificate, followed by the authority's."""
        return self.directory / "hub.pem"

    @property
    def key(self) -> Path:
        """The hub's key."""
        return self.directory / "hub.key"


def make_authority(
    files: Files,
    district: str,
    now: datetime,
    names: Sequence[str] = (),
    addresses: Sequence[Address] = (),
) -> None:
    """Write a new authority's certificate and key; raises `UserError` if there is one already.

    It can sign only for these host names and their subdomains, these addresses and private ones:
    whoever steals its key cannot pose as a bank.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"jharnet-monitor {district}"[:64])])
    usage = _usage(signs_certificates=True)
    certificate = (
        _builder(name, name, key, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(_constraints(names, addresses), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_secret(files.authority_key, _pem_key(key))
    write_secret(files.authority, _pem(certificate))
    files.authority.chmod(0o644)


def make_certificate(
    files: Files, names: Sequence[str], addresses: Sequence[Address],
    now: datetime,
) -> None:  # fmt: skip
    """Write a new key and certificate of the hub, for host names and IP addresses.

    Replaces existing ones. Raises `UserError` without the authority's files.
    """
    authority = read_certificate(files.authority)
    signer = read_key(files.authority_key)
    _refuse_others(authority, names, addresses)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jharnet-monitor hub")])
    alternatives = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
    certificate = (
        _builder(subject, authority.subject, key, signer, now, CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_secret(files.key, _pem_key(key), replace=True)
    write_secret(files.certificate, _pem(certificate) + _pem(authority), replace=True)
    files.certificate.chmod(0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, signer: Key, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )


def _constraints(names: Sequence[str], addresses: Sequence[Address]) -> x509.NameConstraints:
    networks = [*PRIVATE_NETWORKS, *(ip_network(address) for address in addresses)]
    permitted: list[x509.GeneralName] = [
        *map(x509.DNSName, dict.fromkeys((*names, "localhost"))),
        *map(x509.IPAddress, dict.fromkeys(networks)),
    ]
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)


def _refuse_others(
    authority: x509.Certificate, names: Sequence[str], addresses: Sequence[Address]
) -> None:
    """Raise `UserError` for what the authority may not sign for."""
    try:
        found = authority.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound:
        return  # made by an older version
    permitted = found.value.permitted_subtrees or []
    domains = [one.value for one in permitted if isinstance(one, x509.DNSName)]
    networks = [ip_network(str(one.value)) for one in permitted if isinstance(one, x509.IPAddress)]
    wrong = [
        *(n for n in names if not any(n == d or n.endswith(f".{d}") for d in domains)),
        *(str(a) for a in addresses if not any(a in network for network in networks)),
    ]
    if wrong:
        raise UserError(
            f"{', '.join(wrong)}: the authority is not for that; make a new one in another "
            "directory, and give its ca.pem to the offices"
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _pem_key(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; raises `UserError`."""
    raw = _read(path)
    try:
        return x509.load_pem_x509_certificates(raw)[0]
    except ValueError as error:
        raise UserError(f"{path}: contains no PEM certificate") from error


def read_authority(path: Path) -> str:
    """The PEM certificates in a file; raises `UserError` if there are none."""
    try:
        text = path.read_text("ascii")
        x509.load_pem_x509_certificates(text.encode())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: holds no certificate in PEM form") from error
    return text


def certificate_expires(path: Path) -> datetime:
    """When a certificate expires, in UTC; raises `UserError`."""
    return read_certificate(path).not_valid_after_utc


def certificate_hosts(path: Path) -> list[str]:
    """The host names and addresses a certificate is for; raises `UserError`."""
    extensions = read_certificate(path).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def read_key(path: Path) -> Key:
    """An EC key as `tls init` makes it; raises `UserError`."""
    key = _load_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path}: is not a key made by `tls init`")
    return key


def check_pair(certificate: Path, key: Path) -> None:
    """Raise `UserError` unless the key is the certificate's and only its owner can read it."""
    public = read_certificate(certificate).public_key()
    if _der(public) != _der(_load_key(key).public_key()):
        raise UserError(f"{key}: is not the key of {certificate}; name two that belong together")


def server_context(pair: Pair) -> ssl.SSLContext:
    """A server's context for TLS 1.2 or newer; raises `UserError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(pair.certificate, pair.key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"{pair.certificate}: cannot be used with {pair.key}: {error}") from error
    return context


class ServedCertificate:
    """A server's certificate, which can be renewed while the server runs."""

    def __init__(self, pair: Pair) -> None:
        """Raises `UserError` when the pair cannot be used."""
        self._pair = pair
        self._stamps = self._files()
        self.context = server_context(pair)
        self.expires = certificate_expires(pair.certificate)
        """When the served certificate expires, in UTC."""

    def _files(self) -> tuple[int, int]:
        try:
            return self._pair.certificate.stat().st_mtime_ns, self._pair.key.stat().st_mtime_ns
        except OSError:
            return 0, 0

    def refresh(self) -> bool:
        """Serve the pair that is now in the files; True if it has changed. Raises `UserError` for
        unusable files; the old pair is then still served.
        """
        stamps = self._files()
        if stamps == self._stamps:
            return False
        check_pair(self._pair.certificate, self._pair.key)
        server_context(self._pair)  # or the context would be left with half a pair
        expires = certificate_expires(self._pair.certificate)
        self.context.load_cert_chain(self._pair.certificate, self._pair.key)
        self._stamps, self.expires = stamps, expires
        return True


def _load_key(path: Path) -> PrivateKeyTypes:
    raw = _read(path, private=True)
    try:
        return serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: contains no PEM key without a passphrase") from error


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        if private:
            check_private(path, path.stat())
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
