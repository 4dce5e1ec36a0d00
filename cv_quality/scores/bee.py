"""BEE matrices (NIST's Biometric Evaluation Environment): binary float32 scores and the mask that says what they are.

Both files begin with three lines of text (S2 for similarity or D2 for distance, then the names of two lists) and a
fourth with kind, rows, columns and four bytes that tell the byte order. Mask bytes: 0xff genuine, 0x7f impostor, 0 not
to be counted. Identities are in other files, so the subjects stay unknown.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cv_quality.scores.missing import refuse_nan
from cv_quality.scores.rows import IS_GENUINE, LINE, SCORE, apart, joined
from cv_quality.scores.source import Draft, Options, Source, plural

GENUINE, IMPOSTOR = 0xFF, 0x7F
BYTE_ORDERS = {b"\x78\x56\x34\x12": "<", b"\x12\x34\x56\x78": ">"}
MAX_HEADER_BYTES = 8192


def read_bee(source: Source, options: Options) -> Draft:
    """Read a score matrix with its mask; `line` is the row of the matrix, from 1.

    Raises:
        ScoreFileError: the mask is missing or of another shape, or a file is shorter or longer than its header says.
    """
    import polars as pl

    if source.companion is None:
        raise source.error(
            "a BEE matrix needs its mask, and a mask its matrix; give both under one name (scores.mtx and scores.mask)"
        )
    (kind, scores), (_, mask) = _read(source, "F"), _read(Source(source.companion), "B")
    if scores.shape != mask.shape:
        raise source.error(f"has shape {scores.shape}, its mask {source.companion} {mask.shape}")
    flags = mask.ravel()
    frame = pl.DataFrame(
        {
            SCORE: scores.ravel(),
            IS_GENUINE: flags == GENUINE,
            LINE: np.repeat(np.arange(1, len(scores) + 1, dtype=np.uint32), scores.shape[1]),
        }
    )
    is_counted = np.isin(flags, (GENUINE, IMPOSTOR))
    left_out = frame.filter(~is_counted).with_columns(pl.lit(None, dtype=pl.Boolean).alias(IS_GENUINE))
    found = refuse_nan(frame.filter(is_counted), source, options, unit="row")
    n_left_out = plural(len(left_out), "comparison")
    notes = (f"{source}: the mask leaves out {n_left_out}",) if len(left_out) else ()
    excluded = joined([apart(left_out, file=str(source), reason="masked_out"), found.excluded])
    return Draft(found.rows, "bee", excluded, notes, polarity="distance" if kind == b"D2" else "similarity")


def _read(source: Source, kind: str) -> tuple[bytes, NDArray[np.float32] | NDArray[np.uint8]]:
    try:
        data = source.plain_path.read_bytes()
    except OSError as error:
        raise source.error(f"cannot be read: {error.strerror}") from error
    lines = data[:MAX_HEADER_BYTES].split(b"\n", 3)
    words = lines[3].split(b" ", 3) if len(lines) == 4 else []
    is_sound = len(words) == 4 and words[0] == b"M" + kind.encode() and words[1].isdigit() and words[2].isdigit()
    order = BYTE_ORDERS.get(words[3][:4]) if is_sound else None
    if order is None:
        wanted = "scores (MF)" if kind == "F" else "mask (MB)"
        raise source.error(f"is no BEE matrix of {wanted}: its fourth line says kind, rows, columns and byte order")
    shape = (int(words[1]), int(words[2]))
    start = sum(map(len, lines[:3])) + 3 + sum(map(len, words[:3])) + 3 + len(b"\x78\x56\x34\x12\n")
    dtype = np.dtype(f"{order}f4") if kind == "F" else np.dtype(np.uint8)
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise source.error(f"{len(data) - start:,} bytes of data, {shape[0]} x {shape[1]} values need another number")
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return lines[0], values.astype(dtype.newbyteorder("="))
