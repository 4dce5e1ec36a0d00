"""Office documents whose bytes follow from their content alone: no time of writing, neither outside nor within."""

import io
import re
import zipfile

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every member of an archive: the first that its format knows."""
_WRITTEN = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*(<)")
_ARCHIVES = (".xlsx", ".docx", ".pptx")
_CORE = "docProps/core.xml"


def without_times(document: bytes, *, moment: str) -> bytes:
    """Write an Office document anew, in it and in the workbooks that it holds one moment in place of every time.

    Args:
        document: an archive in the format of Office.
        moment: as ISO 8601, in UTC.
    """
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(document)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as written,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(_ARCHIVES):
                data = without_times(data, moment=moment)
            if name == _CORE:
                data = _WRITTEN.sub(rb"\g<1>" + moment.encode() + rb"\g<2>", data)
            member = zipfile.ZipInfo(name, EARLIEST)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            written.writestr(member, data)
    return target.getvalue()
