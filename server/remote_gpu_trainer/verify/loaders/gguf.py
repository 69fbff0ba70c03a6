"""GGUF: the header walked within bounds, every tensor's extent held against the file, and its bytes read.

Format: ggml's docs/gguf.md, versions 2 and 3, little-endian. Sizes of the blocks: ggml's type traits.
"""

import math
from dataclasses import dataclass

from remote_gpu_trainer.verify.floats import ScanTotals, TensorScan
from remote_gpu_trainer.verify.loaders.cursor import Budget, Cursor
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""Number of a type: its name, elements of a block, bytes of a block."""
NAME_MOST = 500
DEPTH_MOST = 4


@dataclass(frozen=True)
class _Tensor:
    name: str
    kind: int
    elements: int
    row: int
    offset: int


def load(source: Source) -> Outcome:
    """Read the file as GGUF.

    Raises:
        BrokenArtifact: the header lies, tensors overlap or leave gaps, or the data is short.
    """
    outcome, budget = Outcome(), Budget()
    cursor = Cursor(source, 0, source.size)
    if cursor.take(4) != b"GGUF":
        raise BrokenArtifact("not-gguf", "it does not begin as GGUF")
    version = cursor.whole("I")
    if version not in (2, 3):
        raise BrokenArtifact("unknown-version", f"version {version} is not known, or it is big-endian")
    tensors, entries = cursor.whole("Q"), cursor.whole("Q")
    budget.spend(tensors + entries)
    alignment, keys = 32, set[str]()
    for _ in range(entries):
        key, value = _text(cursor), _value(cursor, cursor.whole("I"), budget, 0)
        if key in keys:
            raise BrokenArtifact("duplicate-key", f"it sets {key[:80]!r} twice")
        keys.add(key)
        if key == "general.alignment":
            alignment = int(value) if isinstance(value, int) else 0
        elif key == "general.architecture" and isinstance(value, str):
            outcome.facts["architecture"] = value[:100]
    if not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise BrokenArtifact("lying-header", f"its tensors are aligned to {alignment} bytes, which is no power of two")
    described = [_described(cursor) for _ in range(tensors)]
    if len({tensor.name for tensor in described}) != len(described):
        raise BrokenArtifact("duplicate-name", "two tensors have one name")
    _data(source, cursor.at + -cursor.at % alignment, alignment, described, outcome)
    outcome.names = [tensor.name for tensor in described]
    outcome.facts.update(
        version=version,
        tensors=len(described),
        parameters=sum(tensor.elements for tensor in described),
        dtypes=", ".join(sorted({_type(tensor)[0] for tensor in described}))[:400],
    )
    if not described:
        outcome.warn("no-tensors", "it holds no tensor")
    return outcome


def _text(cursor: Cursor) -> str:
    return cursor.take(cursor.whole("Q")).decode("utf-8", "replace")


def _value(cursor: Cursor, kind: int, budget: Budget, depth: int) -> object:
    budget.spend()
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind])
    if kind == _TEXT:
        return _text(cursor)
    if kind != _ARRAY or depth >= DEPTH_MOST:
        raise BrokenArtifact("lying-header", f"a value at {cursor.at} is of kind {kind}, or nests too deep")
    inner, count = cursor.whole("I"), cursor.whole("Q")
    if inner in _BYTES:
        cursor.skip(count * _BYTES[inner])
        return None
    budget.spend(count)
    for _ in range(count):
        if inner == _TEXT:
            cursor.skip(cursor.whole("Q"))
        else:
            _value(cursor, inner, budget, depth + 1)
    return None


def _described(cursor: Cursor) -> _Tensor:
    name = _text(cursor)
    dimensions = cursor.whole("I")
    if not name or len(name) > NAME_MOST or dimensions > 8:
        raise BrokenArtifact("lying-header", f"a tensor before {cursor.at} has no fitting name or {dimensions} sides")
    shape = [cursor.whole("Q") for _ in range(dimensions)]
    kind, offset = cursor.whole("I"), cursor.whole("Q")
    return _Tensor(name, kind, math.prod(shape), shape[0] if shape else 1, offset)


def _type(tensor: _Tensor) -> tuple[str, int, int]:
    return TYPES.get(tensor.kind, (f"type {tensor.kind}", 0, 0))


def _data(source: Source, begin: int, alignment: int, tensors: list[_Tensor], outcome: Outcome) -> None:
    totals, reached = ScanTotals(), 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        label, (kind, block, size) = repr(tensor.name[:80]), _type(tensor)
        if not block:
            outcome.loaded = False
            outcome.warn("unknown-dtype", f"{label} is of {kind}, whose size is not known: its extent was not checked")
            return
        if tensor.row % block or tensor.offset % alignment:
            raise BrokenArtifact("lying-header", f"{label} has rows of {tensor.row} or begins at {tensor.offset}")
        length = tensor.elements // block * size
        if tensor.offset < reached:
            raise BrokenArtifact("overlap", f"{label} begins at {tensor.offset}, inside what ends at {reached}")
        if tensor.offset - reached >= alignment:
            raise BrokenArtifact("gap", f"bytes {reached} to {tensor.offset} before {label} belong to no tensor")
        if begin + tensor.offset + length > source.size:
            raise BrokenArtifact("truncated", f"{label} reaches beyond its {source.size} bytes")
        scan = TensorScan(kind)
        for chunk in source.chunks(begin + tensor.offset, length):
            scan.feed(chunk)
        if scan.bytes != length:
            raise BrokenArtifact("truncated", f"{label} ends after {scan.bytes} of {length} bytes")
        totals.add(tensor.name, scan)
        reached = tensor.offset + length
    if tensors and source.size - begin - reached >= alignment:
        raise BrokenArtifact("trailing-bytes", f"the tensors take {reached} bytes and {source.size - begin} are there")
    totals.tell(outcome)
