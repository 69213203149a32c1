"""Signature fields in papers, and signed copies: PAdES by pyHanko, which is an optional extra.

A paper is signed as a copy: the file that a dossier verifies stays as it is. The field is filled by
whatever holds the officer's certificate (a DSC token, e-Sign), or here from a PKCS#12 file.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from jharnet_monitor.errors import UserError, as_one_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_log = logging.getLogger(__name__)

FIELD = "Signature"
BOX = (370, 22, 547, 50)
"""Place of the field on the last page, in points from the lower left: over the page's number."""
BOXES_A_ROW, BOX_GAP = 2, 8
"""Further fields are to the left of it, and above."""
MISSING = "signatures need pyHanko: install jharnet-monitor[sign]"


class Added(Enum):
    """What was added to a file after a signature."""

    NOTHING = "nothing"
    SIGNATURES = "signatures"
    """Later signatures with their fields, and nothing else that shows."""
    UNSEEN = "unseen"
    """Nothing that shows, such as time stamps and proofs by which it can be checked years later."""
    MORE = "more"


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """What a signature of a file says."""

    field: str
    signer: str | None
    """None for a signature that cannot be read or checked, of which nothing else is known."""
    intact: bool = False
    """The file is as it was signed."""
    trusted: bool = False
    """The certificate leads to one of those that were given."""
    added: Added = Added.MORE
    stamped_at: datetime | None = None
    """What a time stamp of the whole file says (ISO 32000-2, 12.8.5); None for a signature."""

    @property
    def good(self) -> bool:
        """Whether the signature holds; a later one is no alteration."""
        return self.intact and self.trusted and self.added is not Added.MORE


def add_field(paper: bytes) -> bytes:
    """The same paper with an empty signature field; raises `UserError`."""
    _, fields, writer = _library(paper)
    out = io.BytesIO()
    fields.append_signature_field(writer, _next_field(fields, writer))
    writer.write(out)
    return out.getvalue()


def _next_field(fields: Any, writer: Any) -> Any:
    """The field after those that the paper has."""
    taken = {name for name, _, _ in fields.enumerate_sig_fields(writer)}
    names = (f"{FIELD}{number}" if number > 1 else FIELD for number in count(len(taken) + 1))
    name = next(name for name in names if name not in taken)
    row, column = divmod(len(taken), BOXES_A_ROW)
    left = column * (BOX[2] - BOX[0] + BOX_GAP)
    up = row * (BOX[3] - BOX[1] + BOX_GAP)
    box = (BOX[0] - left, BOX[1] + up, BOX[2] - left, BOX[3] + up)
    return fields.SigFieldSpec(name, on_page=-1, box=box)


def sign(paper: bytes, pkcs12: bytes, password: bytes, reason: str) -> bytes:
    """A signed copy of a paper, in its field if it has one; raises `UserError`."""
    signers, fields, writer = _library(paper)
    from cryptography.hazmat.primitives.serialization import pkcs12 as reader  # noqa: PLC0415
    from pyhanko.sign.general import SigningError  # noqa: PLC0415

    try:
        reader.load_key_and_certificates(pkcs12, password)
    except ValueError as error:
        raise UserError(f"the PKCS#12 file cannot be opened with this password: {error}") from None
    signer = signers.SimpleSigner.load_pkcs12_data(pkcs12, other_certs=[], passphrase=password)
    if signer is None:
        raise UserError("the PKCS#12 file has no certificate with its key")
    free = list(fields.enumerate_sig_fields(writer, filled_status=False))
    spec: Any = None if free else _next_field(fields, writer)
    metadata = signers.PdfSignatureMetadata(
        field_name=free[0][0] if free else spec.sig_field_name,
        md_algorithm="sha256",
        subfilter=fields.SigSeedSubFilter.PADES,
        reason=reason or None,
    )
    out = io.BytesIO()
    try:
        signers.sign_pdf(writer, metadata, signer=signer, new_field_spec=spec, output=out)
    except SigningError as error:  # a signature before may permit no other
        raise UserError(f"this paper cannot be signed: {error}") from None
    return out.getvalue()


def examine(paper: bytes, trusted: Sequence[Certificate]) -> list[SignatureReport]:
    """What the signatures of a file say; `trusted` are certificates to which a signer's must lead.

    Raises `UserError`.
    """
    _, fields, _ = _library(paper)
    from asn1crypto import x509  # type: ignore[import-untyped]  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415
    from pyhanko.pdf_utils.reader import PdfFileReader  # noqa: PLC0415
    from pyhanko.sign.validation import (  # noqa: PLC0415
        validate_pdf_signature,
        validate_pdf_timestamp,
    )
    from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature  # noqa: PLC0415
    from pyhanko_certvalidator import ValidationContext  # noqa: PLC0415

    roots = [x509.Certificate.load(one.public_bytes(Encoding.DER)) for one in trusted]
    reader = PdfFileReader(io.BytesIO(paper))
    signed = list(fields.enumerate_sig_fields(reader, filled_status=True))
    names = {name for name, _, _ in signed}
    found = []
    for name, _, place in signed:
        context = ValidationContext(trust_roots=roots, allow_fetching=False)
        try:
            signature = EmbeddedPdfSignature(reader, place, name)
            stamps = signature.sig_object_type == "/DocTimeStamp"
            validate: Any = validate_pdf_timestamp if stamps else validate_pdf_signature
            status = validate(signature, context)
            report = SignatureReport(
                field=name,
                signer=status.signing_cert.subject.human_friendly,
                intact=bool(status.intact and status.valid),
                trusted=bool(status.trusted),
                added=_added(status, names),
                stamped_at=status.timestamp if stamps else None,
            )
        except Exception as error:  # pyHanko's parsers let any exception through
            _log.warning("%s: %s: %s", name, type(error).__name__, as_one_line(str(error)))
            report = SignatureReport(field=name, signer=None)
        found.append(report)
    return found


def _added(status: Any, signed: set[str]) -> Added:
    """What follows a signature, by pyHanko's comparison of the file's revisions; `signed` names
    the fields with a signature."""
    from pyhanko.sign.diff_analysis import ModificationLevel  # noqa: PLC0415
    from pyhanko.sign.validation.status import SignatureCoverageLevel  # noqa: PLC0415

    if status.coverage is SignatureCoverageLevel.ENTIRE_FILE:
        return Added.NOTHING
    level = status.modification_level
    if level in (None, ModificationLevel.OTHER) or status.docmdp_ok is False:
        return Added.MORE
    changed = status.diff_result.changed_form_fields
    if not changed and level <= ModificationLevel.LTA_UPDATES:
        return Added.UNSEEN
    return Added.SIGNATURES if changed and changed <= signed else Added.MORE


def _library(paper: bytes) -> tuple[Any, Any, Any]:
    """The signers, the fields and a writer for the paper; raises `UserError`."""
    try:
        from pyhanko.pdf_utils.incremental_writer import (  # noqa: PLC0415
            IncrementalPdfFileWriter,
        )
        from pyhanko.sign import fields, signers  # noqa: PLC0415
    except ImportError:
        raise UserError(MISSING) from None
    try:
        writer = IncrementalPdfFileWriter(io.BytesIO(paper))
        list(fields.enumerate_sig_fields(writer))
        return signers, fields, writer
    except Exception as error:  # pyHanko's parser lets any exception through
        raise UserError(f"this is no PDF that can be signed: {error}") from None
