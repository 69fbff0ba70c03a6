"""numpy: npy and npz, the header read by numpy's own parser, the data scanned, pickled objects refused."""

import math
import tokenize
import zipfile
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from remote_gpu_trainer.verify.floats import ScanTotals, TensorScan
from remote_gpu_trainer.verify.loaders.archives import pieces
from remote_gpu_trainer.verify.loaders.zips import open_zip, opened_member
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

_NAMES = {"f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128"}
_MALFORMED = (
    ValueError, EOFError, zipfile.BadZipFile, TypeError, SyntaxError, RecursionError, tokenize.TokenError,
)  # fmt: skip
"""What numpy's parser of headers raises; the last where it takes one for a header of Python 2."""


def load(source: Source) -> Outcome:
    """Read a single array."""
    outcome, totals = Outcome(), ScanTotals()
    with source.stream() as stream:
        _array("array", stream, source.size, outcome, totals)
    totals.tell(outcome)
    return outcome


def load_npz(source: Source) -> Outcome:
    """Read a zip of arrays."""
    outcome, totals = Outcome(), ScanTotals()
    with source.stream() as stream, open_zip(stream, source.size) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                raise BrokenArtifact("not-an-array", f"{info.filename[:80]!r} in it is not an array")
            with opened_member(archive, info) as member:
                _array(info.filename.removesuffix(".npy"), member, info.file_size, outcome, totals)
    totals.tell(outcome)
    return outcome


def _array(name: str, stream: IO[bytes], size: int, outcome: Outcome, totals: ScanTotals) -> None:
    try:
        version = npy.read_magic(stream)
        reader: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise BrokenArtifact("unknown-version", f"npy version {version[0]}.{version[1]} is not known")
        shape, _, dtype = reader(stream)
    except _MALFORMED as error:
        raise BrokenArtifact("lying-header", f"the header of {name[:80]!r} is malformed: {str(error)[:120]}") from error
    if dtype.hasobject:
        raise BrokenArtifact("object-dtype", f"{name[:80]!r} holds pickled objects, which are never unpickled")
    room = math.prod(max(1, side) for side in shape) * max(1, int(dtype.itemsize))  # numpy counts no side as nothing
    if any(side < 0 for side in shape) or room >= 2**62 or (not dtype.itemsize and math.prod(shape)):
        raise BrokenArtifact("lying-header", f"{name[:80]!r} has an impossible shape")
    expected = math.prod(shape) * int(dtype.itemsize)
    kind = _NAMES.get(f"{dtype.kind}{dtype.itemsize}", "")
    if np.dtype(dtype).byteorder == ">":
        kind = ""
        outcome.note("big-endian", f"{name[:80]!r} is big-endian, so its values were not scanned")
    if expected > size:
        raise BrokenArtifact("truncated", f"{name[:80]!r} should hold {expected} bytes in {size}")
    scan = TensorScan(kind)
    for chunk in pieces(stream, size):
        scan.feed(chunk)
    if scan.bytes != expected:
        code = "truncated" if scan.bytes < expected else "trailing-bytes"
        raise BrokenArtifact(code, f"{name[:80]!r} holds {scan.bytes} bytes where {expected} are declared")
    totals.add(name, scan)
    outcome.names.append(name)
    facts = outcome.facts
    facts["tensors"] = int(facts.get("tensors", 0)) + 1
    facts["parameters"] = int(facts.get("parameters", 0)) + math.prod(shape)
    facts["dtypes"] = ", ".join(sorted({*str(facts.get("dtypes", "")).split(", "), str(dtype)[:40]} - {""}))
