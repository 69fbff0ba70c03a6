"""PyTorch checkpoints: by torch itself with ``weights_only`` where it is sound, otherwise read restrictedly."""

import importlib
import importlib.util
import math
import pickle  # for the name of its error
import zipfile
from typing import Any

from remote_gpu_trainer.verify import confine
from remote_gpu_trainer.verify.floats import ScanTotals, TensorScan
from remote_gpu_trainer.verify.loaders import ndarrays, settings
from remote_gpu_trainer.verify.loaders.archives import pieces
from remote_gpu_trainer.verify.loaders.described import Box, Call, Name, Storage
from remote_gpu_trainer.verify.loaders.pickles import (
    DTYPES,
    MAPPINGS,
    PARAMETER,
    PICKLE_MOST,
    REBUILDERS,
    TENSOR_V2,
    TENSOR_V3,
    Reader,
)
from remote_gpu_trainer.verify.loaders.safetensors import BITS
from remote_gpu_trainer.verify.loaders.zips import open_zip, opened_member
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

TORCH_LEAST = (2, 10)
"""Before it, ``weights_only`` has known holes."""
MODEL_KEYS = {"model", "state_dict", "model_state_dict", "module"}
"""Under one of these a training checkpoint keeps the model, beside its optimizer."""
NAMES_MOST, NAMES_DEEP = 50_000, 4
SIDES_MOST, ELEMENTS_MOST = 64, 1 << 62
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def load(source: Source) -> Outcome:
    """Read restrictedly first; then, where a sound torch is installed, load for real.

    Raises:
        BrokenArtifact: the pickle asks for what an attack needs, or the storages are short. Nothing unsafer is tried.
    """
    zipped = source.size >= 4 and source.read(0, 4) == b"PK\x03\x04"
    reader = Reader(whole=True)
    outcome = _zipped(source, reader) if zipped else _legacy(source, reader)
    if reader.wanted:
        _refuse(reader, outcome)
        return outcome
    if importlib.util.find_spec("torch") is None:
        reason = "torch is not installed"
    else:
        with confine.importing():
            torch: Any = importlib.import_module("torch")
        version = tuple(int(part) for part in str(torch.__version__).split("+")[0].split(".")[:2])
        if version >= TORCH_LEAST:
            # The walk has held each use of these to what their libraries write; torch knows none of them by itself.
            held = [
                *(ndarrays.torch_globals() if reader.arrays else []),
                *(settings.torch_globals() if reader.settings else []),
            ]
            confine.allow_mapping(source.size)
            try:
                with torch.serialization.safe_globals(held):
                    torch.load(source.path, map_location="cpu", weights_only=True, mmap=zipped)
            except pickle.UnpicklingError as error:  # its text advises to load unsafely, and is not passed on
                raise BrokenArtifact(
                    "unsafe-pickle", f"torch {torch.__version__} refuses it as weights only"
                ) from error
            return outcome
        reason = f"torch {torch.__version__} is older than 2.10, where weights_only has known holes"
    outcome.loaded = False
    outcome.note("restricted-read", f"structure, sizes and checksums hold, one level less than a real load: {reason}")
    return outcome


def _refuse(reader: Reader, outcome: Outcome) -> None:
    """Say what a real load would call. The structure was walked to its end by now, and every storage read."""
    more = f" and {len(reader.wanted) - 3} more" if len(reader.wanted) > 3 else ""
    outcome.error(
        "foreign-classes",
        f"loading it would run code of {', '.join(reader.wanted[:3])}{more}, so nothing loaded it; its structure, "
        "sizes and checksums hold",
    )
    outcome.facts["wants"] = ", ".join(reader.wanted)[:400]


def _zipped(source: Source, reader: Reader) -> Outcome:
    outcome, totals = Outcome(), ScanTotals()
    with source.stream() as stream, open_zip(stream, source.size) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickled = [name for name in members if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(pickled) != 1:
            raise BrokenArtifact("not-a-checkpoint", f"{len(pickled)} members are named data.pkl")
        if members[pickled[0]].file_size > PICKLE_MOST:
            raise BrokenArtifact("too-large", "its data.pkl is larger than 256 MiB")
        with opened_member(archive, members[pickled[0]]) as member:
            root = reader.read(member)
            if behind := sum(len(piece) for piece in pieces(member, source.size)):
                raise BrokenArtifact("trailing-bytes", f"{behind} bytes follow the pickle in its data.pkl")
        prefix = pickled[0].removesuffix("data.pkl") + "data/"
        for key, storage in reader.storages.items():
            info = members.get(prefix + key)
            if info is None:
                raise BrokenArtifact("missing-storage", f"storage {key[:40]!r} is not in the zip")
            if info.compress_type != zipfile.ZIP_STORED:
                raise BrokenArtifact("lying-storage", f"storage {key[:40]!r} is packed, so that nothing can map it")
            if info.file_size != _bytes(storage):
                raise BrokenArtifact(
                    "lying-storage", f"storage {key[:40]!r} holds {info.file_size} bytes, not {_bytes(storage)}"
                )
            scan = TensorScan(storage.kind)
            with opened_member(archive, info) as member:
                for piece in pieces(member, source.size):
                    scan.feed(piece)
            totals.add(key, scan)
    _tell(root, reader, totals, outcome)
    return outcome


def _legacy(source: Source, reader: Reader) -> Outcome:
    outcome, totals = Outcome(), ScanTotals()
    with source.stream() as stream:
        if Reader().read(stream) != _LEGACY_MAGIC:
            raise BrokenArtifact("not-a-checkpoint", "it is neither a zip nor begins with torch's legacy mark")
        if Reader().read(stream) != _LEGACY_PROTOCOL:
            raise BrokenArtifact("not-a-checkpoint", "it is of a legacy protocol that torch never wrote")
        Reader().read(stream)
        root = reader.read(stream)
        keys = Reader().read(stream)
        waiting = dict(reader.storages)
        for key in keys.items if isinstance(keys, Box) else []:
            storage = waiting.pop(key, None) if isinstance(key, str) else None
            length = stream.read(8)
            if storage is None or len(length) != 8 or int.from_bytes(length, "little") != storage.elements:
                raise BrokenArtifact("lying-storage", "its list of storages is not what the pickle describes")
            scan = TensorScan(storage.kind)
            begin = stream.tell()
            for chunk in source.chunks(begin, _bytes(storage)):
                scan.feed(chunk)
            if scan.bytes != _bytes(storage):
                raise BrokenArtifact("truncated", f"storage {storage.key[:40]!r} ends after {scan.bytes} bytes")
            stream.seek(begin + scan.bytes)
            totals.add(storage.key, scan)
        if waiting:
            raise BrokenArtifact("missing-storage", f"{totals.tensors} of {len(reader.storages)} storages are there")
        if stream.tell() != source.size:
            outcome.warn("trailing-bytes", f"{source.size - stream.tell()} bytes follow its storages")
    _tell(root, reader, totals, outcome)
    return outcome


def _bytes(storage: Storage) -> int:
    return storage.elements * BITS.get(storage.kind, 128) // 8


def _tell(root: object, reader: Reader, totals: ScanTotals, outcome: Outcome) -> None:
    _scan_arrays(reader, totals)
    tensors = [call for call in reader.calls if call.name in (TENSOR_V2, TENSOR_V3)]
    stretched = sum(_extent(call) for call in tensors)
    if stretched:
        outcome.note("stretched", f"{stretched} tensors repeat what their storages hold, and need more room than that")
    for call in reader.calls:
        match call.args:
            case [Call(name="torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor_v3"), bool(), _]:
                pass
            case _ if call.name == PARAMETER:
                raise BrokenArtifact("lying-tensor", "a parameter is made of something other than a tensor")
            case _:
                pass
    outcome.facts["tensors"] = len(tensors)
    outcome.facts["parameters"] = sum(storage.elements for storage in reader.storages.values())
    outcome.facts["dtypes"] = ", ".join(sorted({storage.kind for storage in reader.storages.values()}))
    for key, value in _entries(root):
        if key in {"step", "global_step", "epoch"} and type(value) is int and abs(value) < 2**53:
            outcome.facts["epoch" if key == "epoch" else "step"] = value
    outcome.names = _names(root)
    totals.tell(outcome)


def _scan_arrays(reader: Reader, totals: ScanTotals) -> None:
    """Look for what is not finite in numpy's arrays, whose bytes lie in the pickle."""
    for number, array in enumerate(reader.arrays):
        kind = None if array.dtype is None else array.dtype.kind
        if kind is not None:
            scan = TensorScan(kind)
            scan.feed(array.little_endian())
            totals.add(f"numpy array {number}", scan)


def _entries(what: object) -> list[tuple[object, object]]:
    """The entries of a mapping; none of anything else."""
    if isinstance(what, Box) and what.kind == "EMPTY_DICT":
        items = what.items
    elif isinstance(what, Call) and what.name in MAPPINGS:
        items = what.args
    else:
        return []
    return list(zip(items[::2], items[1::2], strict=False))


def _names(root: object) -> list[str]:
    """Tensors by name: those of the model where the checkpoint holds one beside other things, else by dotted name."""
    for key, value in _entries(root):
        if key in MODEL_KEYS and (names := _names(value)):
            return names
    found: list[str] = []
    seen: set[int] = set()  # one part may be named in many places, and name itself
    waiting: list[tuple[str, object, int]] = [("", root, 0)]
    while waiting and len(found) < NAMES_MOST:
        prefix, what, depth = waiting.pop()
        if isinstance(what, Call) and what.name in REBUILDERS:
            found.append(prefix)
        elif depth < NAMES_DEEP and id(what) not in seen:
            seen.add(id(what))
            inner = [
                (f"{prefix}.{key}" if prefix else f"{key}", value, depth + 1)
                for key, value in _entries(what)
                if isinstance(key, str | int)
            ]
            waiting.extend(reversed(inner))
    return found


def _extent(call: Call) -> bool:
    """Hold a tensor against its storage; whether it has more elements than that, by steps of zero.

    Raises:
        BrokenArtifact: ``lying-tensor``.
    """
    match call.args:
        case [
            Storage() as storage, int() as offset, Box(items=sizes), Box(items=strides), bool(),
            Call(name="collections OrderedDict", args=[]), *more
        ] if len(more) <= 2:  # fmt: skip
            held = _held(storage, more[0] if call.name == TENSOR_V3 and more else None)
            pairs = list(zip(sizes, strides, strict=False))
            whole = [(a, b) for a, b in pairs if type(a) is int and type(b) is int and a >= 0 and b >= 0]
            elements = math.prod(size for size, _ in whole)
            if offset >= 0 and len(sizes) == len(strides) == len(whole) <= SIDES_MOST and elements < ELEMENTS_MOST:
                last = offset + sum((size - 1) * stride for size, stride in whole)
                if elements == 0 or last < held:
                    return elements > held
        case _:
            pass
    raise BrokenArtifact("lying-tensor", "a tensor reaches beyond its storage, or is described as torch does not")


def _held(storage: Storage, dtype: object) -> int:
    """Elements that a storage has room for; an untyped one is counted in bytes and read as ``dtype``."""
    kind = DTYPES.get(dtype.text.removeprefix("torch ")) if isinstance(dtype, Name) else None
    return storage.elements if kind is None else _bytes(storage) * 8 // BITS.get(kind, 128)
