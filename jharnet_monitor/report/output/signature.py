"""Signature fields in papers, and signed copies: PAdES by pyHanko, which is an optional extra.

A paper is signed as a copy: the file that a dossier verifies stays as it is. The field is filled by
whatever holds the officer's certificate (a DSC token, e-Sign), or here from a PKCS#12 file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jharnet_monitor.errors import UserError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FIELD = "Signature"
BOX = (370, 22, 547, 50)
"""Place of the field on the last page, in points from the lower left: left of the page's number."""
MISSING = "signatures need pyHanko: install jharnet-monitor[sign]"


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """What a signature of a file says."""

    signer: str
    intact: bool
    """The file is as it was signed."""
    trusted: bool
    """The certificate leads to one of those that were given."""
    whole: bool
    """Nothing was added to the file after it was signed."""

    @property
    def good(self) -> bool:
        """Whether all of it holds."""
        return self.intact and self.trusted and self.whole


def add_field(paper: bytes) -> bytes:
    """The same paper with an empty signature field; raises `UserError`."""
    _, fields, writer = _library(paper)
    out = io.BytesIO()
    taken = len(list(fields.enumerate_sig_fields(writer)))
    name = f"{FIELD}{taken + 1}" if taken else FIELD
    fields.append_signature_field(writer, fields.SigFieldSpec(name, on_page=-1, box=BOX))
    writer.write(out)
    return out.getvalue()


def sign(paper: bytes, pkcs12: bytes, password: bytes, reason: str) -> bytes:
    """A signed copy of a paper, in its field if it has one; raises `UserError`."""
    signers, fields, writer = _library(paper)
    from cryptography.hazmat.primitives.serialization import pkcs12 as reader  # noqa: PLC0415

    try:
        reader.load_key_and_certificates(pkcs12, password)
    except ValueError as error:
        raise UserError(f"the PKCS#12 file cannot be opened with this password: {error}") from None
    signer = signers.SimpleSigner.load_pkcs12_data(pkcs12, other_certs=[], passphrase=password)
    if signer is None:
        raise UserError("the PKCS#12 file has no certificate with its key")
    free = list(fields.enumerate_sig_fields(writer, filled_status=False))
    spec = None if free else fields.SigFieldSpec(FIELD, on_page=-1, box=BOX)
    metadata = signers.PdfSignatureMetadata(
        field_name=free[0][0] if free else FIELD,
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        reason=reason or None,
    )
    out = io.BytesIO()
    signers.sign_pdf(writer, metadata, signer=signer, new_field_spec=spec, output=out)
    return out.getvalue()


def examine(paper: bytes, trusted: Sequence[Certificate]) -> list[SignatureReport]:
    """What the signatures of a file say; `trusted` are certificates to which a signer's must lead.

    Raises `UserError`.
    """
    _library(paper)
    from asn1crypto import x509  # type: ignore[import-untyped]  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415
    from pyhanko.pdf_utils.reader import PdfFileReader  # noqa: PLC0415
    from pyhanko.sign.validation import validate_pdf_signature  # noqa: PLC0415
    from pyhanko.sign.validation.status import SignatureCoverageLevel  # noqa: PLC0415
    from pyhanko_certvalidator import ValidationContext  # noqa: PLC0415

    roots = [x509.Certificate.load(one.public_bytes(Encoding.DER)) for one in trusted]
    found = []
    for signature in PdfFileReader(io.BytesIO(paper)).embedded_signatures:
        context = ValidationContext(trust_roots=roots, allow_fetching=False)
        status = validate_pdf_signature(signature, context)
        found.append(
            SignatureReport(
                signer=status.signing_cert.subject.human_friendly,
                intact=bool(status.intact and status.valid),
                trusted=bool(status.trusted),
                whole=status.coverage is SignatureCoverageLevel.ENTIRE_FILE,
            )
        )
    return found


def _library(paper: bytes) -> tuple[Any, Any, Any]:
    """The signers, the fields and a writer for the paper; raises `UserError`."""
    try:
        from pyhanko.pdf_utils.incremental_writer import (  # noqa: PLC0415
            IncrementalPdfFileWriter,
        )
        from pyhanko.pdf_utils.misc import PdfReadError  # noqa: PLC0415
        from pyhanko.sign import fields, signers  # noqa: PLC0415
    except ImportError:
        raise UserError(MISSING) from None
    try:
        return signers, fields, IncrementalPdfFileWriter(io.BytesIO(paper))
    except PdfReadError as error:
        raise UserError(f"this is no PDF that can be signed: {error}") from None
