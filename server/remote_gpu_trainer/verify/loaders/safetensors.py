"""safetensors: the header checked strictly, then every tensor read and scanned."""

import math
import re
from typing import cast

from remote_gpu_trainer.verify.floats import ScanTotals, TensorScan
from remote_gpu_trainer.verify.loaders.jsontext import parse_json
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

HEADER_MOST = 100_000_000
"""Bytes; the format's own limit."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_WHOLE = re.compile(r"[0-9]{1,15}\Z")


def load(source: Source) -> Outcome:
    """Read the file as safetensors.

    Raises:
        BrokenArtifact: the header lies, overlaps, leaves gaps, or the data is short.
    """
    if source.size < 8:
        raise BrokenArtifact("truncated", f"{source.size} bytes are less than the 8 of a header length")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > HEADER_MOST or length > source.size - 8:
        raise BrokenArtifact("lying-header", f"the header claims {length} bytes in a file of {source.size}")
    if source.read(8, min(length, 1)) != b"{":
        raise BrokenArtifact("lying-header", "the header does not begin as a JSON object, as the format wants it")
    raw = parse_json(source.read(8, length), what="header")
    if not isinstance(raw, dict):
        raise BrokenArtifact("lying-header", "the header is not a JSON object")
    header = cast(dict[str, object], raw)
    outcome = Outcome()
    _metadata(header.pop("__metadata__", None), outcome)
    tensors = sorted((_tensor(name, entry) for name, entry in header.items()), key=lambda tensor: tensor[2:4])
    _contiguous(tensors, source.size - 8 - length)
    totals = ScanTotals()
    for name, dtype, begin, end, _ in tensors:
        scan = TensorScan(dtype)
        for chunk in source.chunks(8 + length + begin, end - begin):
            scan.feed(chunk)
        if scan.bytes != end - begin:
            raise BrokenArtifact("truncated", f"{name[:80]!r} ends after {scan.bytes} of {end - begin} bytes")
        totals.add(name, scan)
        if name == "step" and end - begin == 8 and dtype == "I64":
            step = int.from_bytes(source.read(8 + length + begin, 8), "little", signed=True)
            outcome.facts.setdefault("step", step)
    outcome.names = [tensor[0] for tensor in tensors]
    outcome.facts["tensors"] = len(tensors)
    outcome.facts["parameters"] = sum(tensor[4] for tensor in tensors)
    outcome.facts["dtypes"] = ", ".join(sorted({tensor[1] for tensor in tensors}))
    outcome.facts["tensor_bytes"] = source.size - 8 - length
    if not tensors:
        outcome.warn("no-tensors", "it holds no tensor")
    totals.tell(outcome)
    return outcome


def _metadata(value: object, outcome: Outcome) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise BrokenArtifact("lying-header", "__metadata__ is not an object")
    metadata = cast(dict[str, object], value)
    if not all(isinstance(item, str) for item in metadata.values()):
        raise BrokenArtifact("lying-header", "__metadata__ holds something other than strings")
    for key, fact in (("step", "step"), ("global_step", "step"), ("epoch", "epoch")):
        text = metadata.get(key)
        if isinstance(text, str) and _WHOLE.match(text):
            outcome.facts[fact] = int(text)


def _tensor(name: str, entry: object) -> tuple[str, str, int, int, int]:
    """Name, dtype, begin, end, elements."""
    label = repr(name[:80])
    fields = cast(dict[str, object], entry) if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if set(fields) != {"dtype", "shape", "data_offsets"} or not isinstance(dtype, str):
        raise BrokenArtifact("lying-header", f"{label} is not described by dtype, shape and data_offsets")
    if dtype not in BITS:
        raise BrokenArtifact("unknown-dtype", f"{label} has the unknown dtype {dtype[:20]!r}")
    sizes, span = _wholes(shape), _wholes(offsets)
    if sizes is None or span is None or len(span) != 2 or len(sizes) > 64:
        raise BrokenArtifact("lying-header", f"shape or offsets of {label} are not whole numbers")
    elements = math.prod(sizes)
    begin, end = span
    if begin > end or elements * BITS[dtype] != (end - begin) * 8:
        raise BrokenArtifact("lying-header", f"{label} says {elements} x {dtype} in bytes {begin} to {end}")
    return name, dtype, begin, end, elements


def _wholes(value: object) -> list[int] | None:
    if not isinstance(value, list):
        return None
    items = cast(list[object], value)
    good = [item for item in items if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**62]
    return good if len(good) == len(items) else None


def _contiguous(tensors: list[tuple[str, str, int, int, int]], data: int) -> None:
    reached = 0
    for name, _, begin, end, _ in tensors:
        if begin < reached:
            raise BrokenArtifact("overlap", f"{name[:80]!r} begins at {begin}, inside what ends at {reached}")
        if begin > reached:
            raise BrokenArtifact("gap", f"bytes {reached} to {begin} before {name[:80]!r} belong to no tensor")
        reached = end
    if reached != data:
        code = "truncated" if reached > data else "trailing-bytes"
        raise BrokenArtifact(code, f"the tensors take {reached} bytes and the file holds {data}")
