"""ONNX: the protobuf walked field by field, every weight's extent held against its shape, and its bytes read.

Format: onnx.proto of ONNX 1.19 (field numbers and data types). No library is asked, so nothing is built in memory.
"""

import math
import posixpath
from dataclasses import dataclass, field

import numpy as np

from remote_gpu_trainer.verify.floats import ScanTotals, TensorScan
from remote_gpu_trainer.verify.loaders.archives import unsafe_name
from remote_gpu_trainer.verify.loaders.cursor import Budget, Cursor
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

TYPES: dict[int, tuple[str, int]] = {
    1: ("F32", 32), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32), 7: ("I64", 64),
    8: ("STRING", 0), 9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32), 13: ("U64", 64),
    14: ("C64", 64), 15: ("C128", 128), 16: ("BF16", 16), 17: ("F8_E4M3", 8), 18: ("F8_E4M3FNUZ", 8),
    19: ("F8_E5M2", 8), 20: ("F8_E5M2FNUZ", 8), 21: ("U4", 4), 22: ("I4", 4), 23: ("F4", 4), 24: ("F8_E8M0", 8),
    25: ("U2", 2), 26: ("I2", 2),
}  # fmt: skip
_FLOATS, _DOUBLES, _VARINTS, _TEXTS = 4, 10, (5, 7, 11), 6
_RAW, _TRAINING, _FUNCTION = 9, 20, 25
SIDES_MOST, ELEMENTS_MOST, PLACE_MOST = 64, 1 << 62, 200
DEPTH_MOST = 16
NODES = "nodes"


@dataclass
class _Tensor:
    sides: list[int] = field(default_factory=list[int])
    kind: int = 0
    name: str = ""
    external: bool = False
    location: str = ""
    raw: tuple[int, int] | None = None
    held: int = 0
    """Values in the typed fields."""
    scanned: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


@dataclass
class _Walk:
    source: Source
    outcome: Outcome
    totals: ScanTotals
    budget: Budget
    dtypes: set[str]


def load(source: Source) -> Outcome:
    """Read the file as an ONNX model.

    Raises:
        BrokenArtifact: it is no ONNX model, or a weight's bytes do not fit its shape.
    """
    outcome = Outcome()
    walk = _Walk(source, outcome, ScanTotals(), Budget(), set())
    version, opsets, graphs = 0, 0, list[tuple[int, int]]()
    beside = list[tuple[int, int, int]]()
    for number, begin, end in Cursor(source, 0, source.size).fields(walk.budget):
        if number == 1 and end < 0:
            version = begin
        elif number == 8 and end >= 0:
            opsets += 1
        elif number == 7 and end >= 0:
            graphs.append((begin, end))
        elif number in (_TRAINING, _FUNCTION):
            beside.append((number, *_body(begin, end)))
    if not 1 <= version <= 1000 or not opsets or len(graphs) != 1:
        raise BrokenArtifact("not-onnx", "it holds no version, no operator set, or not one graph")
    outcome.facts.update(ir_version=version, nodes=0, tensors=0, parameters=0)
    _graph(walk, *graphs[0], 0)
    for field_number, begin, end in beside:
        for number, inner, inner_end in Cursor(source, begin, end).fields(walk.budget):
            if field_number == _FUNCTION and number == 7:
                _node(walk, _body(inner, inner_end), 0)
            elif field_number == _TRAINING and number in (1, 2):
                _graph(walk, *_body(inner, inner_end), 0)
    outcome.facts["dtypes"] = ", ".join(sorted(walk.dtypes))[:400]
    walk.totals.tell(outcome)
    return outcome


def _graph(walk: _Walk, begin: int, end: int, depth: int) -> None:
    if depth > DEPTH_MOST:
        raise BrokenArtifact("too-deep", f"graphs nest deeper than {DEPTH_MOST}")
    for number, inner, inner_end in Cursor(walk.source, begin, end).fields(walk.budget):
        if number == 5:
            _weight(walk, _body(inner, inner_end))
        elif number == 15:
            _sparse(walk, _body(inner, inner_end))
        elif number == 1:
            walk.outcome.facts[NODES] = int(walk.outcome.facts[NODES]) + 1
            _node(walk, _body(inner, inner_end), depth)


def _node(walk: _Walk, body: tuple[int, int], depth: int) -> None:
    for number, begin, end in Cursor(walk.source, *body).fields(walk.budget):
        if number != 5:
            continue
        for inner, at, until in Cursor(walk.source, *_body(begin, end)).fields(walk.budget):
            if inner in (5, 10):
                _weight(walk, _body(at, until))
            elif inner in (6, 11):
                _graph(walk, *_body(at, until), depth + 1)
            elif inner in (22, 23):
                _sparse(walk, _body(at, until))


def _sparse(walk: _Walk, body: tuple[int, int]) -> None:
    """Values and places of a sparse weight, each a tensor."""
    for number, begin, end in Cursor(walk.source, *body).fields(walk.budget):
        if number in (1, 2):
            _weight(walk, _body(begin, end))


def _body(begin: int, end: int) -> tuple[int, int]:
    if end < 0:
        raise BrokenArtifact("malformed", "a number stands where a message is due")
    return begin, end


def _weight(walk: _Walk, body: tuple[int, int]) -> None:
    tensor = _described(walk, body)
    label = repr(tensor.name[:80])
    elements = math.prod(tensor.sides)
    if not tensor.kind or any(side >= ELEMENTS_MOST for side in tensor.sides) or elements >= ELEMENTS_MOST:
        raise BrokenArtifact("lying-header", f"{label} has no type or an impossible shape")
    kind, bits = TYPES.get(tensor.kind, (f"type {tensor.kind}", 0))
    outcome, facts = walk.outcome, walk.outcome.facts
    if tensor.kind not in TYPES:
        outcome.loaded = False
        outcome.warn("unknown-dtype", f"{label} is of {kind}, whose size is not known: its extent was not checked")
    elif tensor.external:
        if unsafe_name(tensor.location) or len(tensor.location) > PLACE_MOST:
            raise BrokenArtifact("unsafe-name", f"{label} lies in {tensor.location[:80]!r}, which leads out")
        outcome.loaded = False
        if not any(code == "external-data" for code, _, _ in outcome.findings):
            outcome.warn("external-data", f"weights lie in {tensor.location[:80]!r}, which was not read with it")
        outcome.shards.setdefault(posixpath.normpath(tensor.location), [])
    elif tensor.raw is not None:
        length = tensor.raw[1] - tensor.raw[0]
        if tensor.held or not bits or length != (elements * bits + 7) // 8:
            raise BrokenArtifact("lying-tensor", f"{label} says {elements} x {kind} in {length} bytes")
        _scan(walk, tensor.name, kind, [tensor.raw])
    else:
        due = elements * 2 if kind in ("C64", "C128") else (elements + 1) // 2 if bits == 4 else elements
        due = (elements + 3) // 4 if bits == 2 else due
        if tensor.held != due:
            raise BrokenArtifact("lying-tensor", f"{label} says {elements} x {kind} and holds {tensor.held} values")
        _scan(walk, tensor.name, kind if kind in ("F32", "F64", "C64", "C128") else "", tensor.scanned)
    facts["tensors"] = int(facts["tensors"]) + 1
    facts["parameters"] = int(facts["parameters"]) + elements
    walk.dtypes.add(kind)
    if tensor.name:
        outcome.names.append(tensor.name)


def _scan(walk: _Walk, name: str, kind: str, ranges: list[tuple[int, int]]) -> None:
    scan = TensorScan(kind)
    for begin, end in ranges:
        for chunk in walk.source.chunks(begin, end - begin):
            scan.feed(chunk)
    if scan.bytes != sum(end - begin for begin, end in ranges):
        raise BrokenArtifact("truncated", f"{name[:80]!r} ends early")
    walk.totals.add(name, scan)


def _described(walk: _Walk, body: tuple[int, int]) -> _Tensor:
    tensor = _Tensor()
    for number, begin, end in Cursor(walk.source, *body).fields(walk.budget):
        if number == 1:
            tensor.sides += [begin] if end < 0 else _varints(walk, begin, end)
            if len(tensor.sides) > SIDES_MOST:
                raise BrokenArtifact("lying-header", f"a tensor before {begin} has more than {SIDES_MOST} sides")
        elif number == 2 and end < 0:
            tensor.kind = begin
        elif number == 8:
            tensor.name = _word(walk, begin, end)
        elif number == _RAW:
            tensor.raw = _body(begin, end)
        elif number == 13:
            _place(walk, tensor, _body(begin, end))
        elif number == 14:
            tensor.external = begin == 1
        elif number in (_FLOATS, _DOUBLES, _TEXTS, *_VARINTS):
            _values(walk, tensor, number, begin, end)
    return tensor


def _values(walk: _Walk, tensor: _Tensor, number: int, begin: int, end: int) -> None:
    if number in _VARINTS:
        tensor.held += 1 if end < 0 else _count(walk, begin, end)
        if end >= 0:
            tensor.scanned.append((begin, end))
        return
    begin, end = _body(begin, end)
    width = {_FLOATS: 4, _DOUBLES: 8}.get(number)
    if width is None:
        tensor.held += 1
    elif (end - begin) % width:
        raise BrokenArtifact("malformed", f"{end - begin} bytes of numbers at {begin}")
    else:
        tensor.held += (end - begin) // width
    tensor.scanned.append((begin, end))


def _count(walk: _Walk, begin: int, end: int) -> int:
    """How many numbers a packed field holds: each ends in a byte below 128."""
    return sum(int((np.frombuffer(chunk, np.uint8) < 128).sum()) for chunk in walk.source.chunks(begin, end - begin))


def _varints(walk: _Walk, begin: int, end: int) -> list[int]:
    cursor, found = Cursor(walk.source, begin, end), list[int]()
    while cursor.at < end and len(found) <= SIDES_MOST:
        walk.budget.spend()
        found.append(cursor.varint())
    return found


def _place(walk: _Walk, tensor: _Tensor, body: tuple[int, int]) -> None:
    key = value = ""
    for number, begin, end in Cursor(walk.source, *body).fields(walk.budget):
        if number == 1:
            key = _word(walk, begin, end)
        elif number == 2:
            value = _word(walk, begin, end)
    if key == "location":
        tensor.location = value


def _word(walk: _Walk, begin: int, end: int) -> str:
    begin, end = _body(begin, end)
    if end - begin > 4096:
        raise BrokenArtifact("lying-header", f"a name at {begin} is {end - begin} bytes long")
    return walk.source.read(begin, end - begin).decode("utf-8", "replace")
