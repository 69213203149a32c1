"""Rules of PDF/A-3b (ISO 19005-3) and PDF/UA-1 (ISO 14289-1) that can be checked in a file.

Each rule names its clause. veraPDF, which checks all of them, is in no package here; Typst itself
refuses what it knows to break either standard, and these rules check its output.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pikepdf

_HEADING = re.compile(r"/H([1-6])$")


def violations(paper: bytes) -> list[str]:
    """Every rule that a file breaks."""
    with pikepdf.open(io.BytesIO(paper)) as pdf:
        return [*_archive(pdf), *_accessible(pdf)]


def _archive(pdf: pikepdf.Pdf) -> Iterator[str]:
    """PDF/A-3b."""
    meta = pdf.open_metadata()
    if (meta.get("pdfaid:part"), meta.get("pdfaid:conformance")) != ("3", "B"):
        yield "6.6.4: the metadata do not say PDF/A-3b"
    if pdf.is_encrypted:
        yield "6.1.3: it is encrypted"
    if "/ID" not in pdf.trailer:
        yield "6.1.3: the trailer has no ID"
    intents: Any = pdf.Root.get("/OutputIntents", [])
    if not any("/DestOutputProfile" in one for one in intents):
        yield "6.2.3: there is no output intent with its profile"
    if "/JavaScript" in pdf.Root.get("/Names", {}):
        yield "6.5.1: it has JavaScript"
    if "/AA" in pdf.Root or ("/OpenAction" in pdf.Root and "/S" in pdf.Root.OpenAction):
        yield "6.5.1: it has actions"
    yield from _embedded(pdf)
    yield from _attached(pdf)


def _embedded(pdf: pikepdf.Pdf) -> Iterator[str]:
    """Fonts and images."""
    for font in _of_type(pdf, "/FontDescriptor"):
        if not {"/FontFile", "/FontFile2", "/FontFile3"} & set(font.keys()):
            yield f"6.2.11.4: {font.get('/FontName')} is not embedded"
    for font in _of_type(pdf, "/Font"):
        if font.get("/Subtype") == "/Type0" and "/ToUnicode" not in font:
            yield f"PDF/UA 7.21.7: {font.get('/BaseFont')} has no ToUnicode"
    for image in _of_type(pdf, "/XObject"):
        if image.get("/Subtype") == "/Image" and image.get("/Interpolate"):
            yield "6.2.8: an image is interpolated"


def _attached(pdf: pikepdf.Pdf) -> Iterator[str]:
    """Attachments."""
    specs = _of_type(pdf, "/Filespec")
    associated = {one.objgen for one in pdf.Root.get("/AF", [])}
    for spec in specs:
        if not {"/F", "/UF", "/AFRelationship"} <= set(spec.keys()):
            yield "6.8: an attachment has no name or no relationship"
        elif "/Subtype" not in spec.EF.F:
            yield f"6.8: {spec.UF} has no MIME type"
        elif spec.objgen not in associated:
            yield f"6.8: {spec.UF} is not associated with the document"


def _accessible(pdf: pikepdf.Pdf) -> Iterator[str]:
    """PDF/UA-1."""
    if str(pdf.open_metadata().get("pdfuaid:part")) != "1":
        yield "5: the metadata do not say PDF/UA-1"
    if not _of(pdf, "/MarkInfo").get("/Marked"):
        yield "7.1: it is not tagged"
    if not str(pdf.Root.get("/Lang", "")):
        yield "7.2: it has no language"
    if not _of(pdf, "/ViewerPreferences").get("/DisplayDocTitle"):
        yield "7.1: a reader would show the file's name, not its title"
    if not pdf.open_metadata().get("dc:title"):
        yield "7.1: it has no title"
    for number, page in enumerate(pdf.pages, 1):
        if "/Annots" in page and page.get("/Tabs") != "/S":
            yield f"7.18.3: the order of tabs on page {number} is not that of the tags"
        if "/StructParents" not in page:
            yield f"7.1: nothing on page {number} is tagged"
        yield from (f"7.1: page {number}: {wrong}" for wrong in _outside(page))
    yield from _structured(pdf)


def _structured(pdf: pikepdf.Pdf) -> Iterator[str]:
    """The tree of tags."""
    tree = pdf.Root.get("/StructTreeRoot")
    if tree is None or "/ParentTree" not in tree:
        yield "7.1: there is no tree of tags"
        return
    last = 0
    for tag, element in _tags(tree):
        if tag == "/Figure" and not str(element.get("/Alt", "")):
            yield "7.3: a figure has no alternative text"
        if tag == "/TH" and not _scoped(element):
            yield "7.5: a head of a table has no scope"
        heading = _HEADING.match(tag)
        if heading:
            level = int(heading[1])
            if level > last + 1:
                yield f"7.4.2: a heading of level {level} follows one of level {last}"
            last = level


def _outside(page: pikepdf.Page) -> Iterator[str]:
    """Marks on a page that are neither tagged nor an artifact."""
    depth, shown = 0, {"Tj", "TJ", "'", '"', "f", "F", "f*", "B", "B*", "S", "s", "Do", "sh", "b"}
    for instruction in pikepdf.parse_content_stream(page):
        operator = str(instruction.operator)
        if operator in ("BDC", "BMC"):
            depth += 1
        elif operator == "EMC":
            depth -= 1
        elif operator in shown and depth == 0:
            yield f"`{operator}` outside of any tag"
            return


def _tags(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every element of the tree with its tag, in the order in which it is read."""
    kids = tree.get("/K", [])
    for kid in kids if isinstance(kids, pikepdf.Array) else [kids]:
        if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
            yield str(kid.S), kid
            yield from _tags(kid)


def _scoped(element: Any) -> bool:
    found = element.get("/A", [])
    every = found if isinstance(found, pikepdf.Array) else [found]
    return any("/Scope" in one for one in every if isinstance(one, pikepdf.Dictionary))


def _of(pdf: pikepdf.Pdf, name: str) -> Any:
    return pdf.Root.get(name, pikepdf.Dictionary())


def _of_type(pdf: pikepdf.Pdf, name: str) -> list[Any]:
    return [
        one
        for one in pdf.objects
        if isinstance(one, pikepdf.Dictionary | pikepdf.Stream) and one.get("/Type") == name
    ]
