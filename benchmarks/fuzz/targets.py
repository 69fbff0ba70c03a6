"""What a stranger's bytes reach first, as functions that take any bytes and fail only where a promise is broken.

Used by the coverage-guided fuzzer (``run.py``) and, with hypothesis, by the tests.
"""

import argparse
import atexit
import hashlib
import io
import json
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from pickle import dumps

import numpy as np

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import LimitExceeded, RemoteCommandFailed, TransferError
from remote_gpu_trainer.transfer.chunks import ChunkMap
from remote_gpu_trainer.transfer.landing import Landing
from remote_gpu_trainer.transfer.limits import CopyLimits
from remote_gpu_trainer.transfer.paths import collision_key, unsafe_reason
from remote_gpu_trainer.transfer.plan import plan_files
from remote_gpu_trainer.transfer.receiver import HEADER, PACKED, PLAIN, REFUSED, Receiver
from remote_gpu_trainer.transfer.roster import Roster
from remote_gpu_trainer.transfer.shelf import Shelf
from remote_gpu_trainer.transfer.tasks import FileTask
from remote_gpu_trainer.verify.loaders import arrays, gguf, onnx, pickles, png, pytorch, safetensors, tars, zips
from remote_gpu_trainer.verify.loaders.jsontext import parse_json
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

LIMITS = CopyLimits(max_bytes=1 << 20, max_files=40, max_depth=6, max_entries=50, keep_free_bytes=0)
ROOTS = ["/far/one", "/far/two"]
CONTENTS = {"one": b"first", "folder/two": b"second and longer", "empty": b"", "log": b"step 1 loss 0.5\n" * 20}


def manifest(data: bytes) -> None:
    """A list of files: refused, or every name in it that would be used is safe and its own."""
    roster = Roster(ROOTS, max_entries=LIMITS.max_entries, max_depth=LIMITS.max_depth)
    try:
        for at in range(0, len(data), 97):
            roster.feed(data[at : at + 97])
        roster.end()
        tasks, skipped = plan_files(roster.manifests, ["one/", "two/"], LeaseId("digits-k3vq7m"), LIMITS)
    except (RemoteCommandFailed, LimitExceeded) as refused:
        assert str(refused).isprintable()
        return
    paths = [task.path for task in tasks]
    assert all(unsafe_reason(path) is None and path.split("/")[0] in {"one", "two"} for path in paths)
    assert len({collision_key(path) for path in paths}) == len(paths)
    assert all(0 <= task.size for task in tasks)
    shown = [*skipped, *(entry for _, entry in roster.skipped)]
    assert all(entry.path.isprintable() and entry.reason.isprintable() and entry.size >= 0 for entry in shown)


_home: list[Path] = []


def _destination() -> Path:
    """An empty folder in memory where there is such a place; the same each time."""
    if not _home:
        memory = Path("/dev/shm")  # noqa: S108  # a place in memory, not a name in it
        _home.append(Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)))
        atexit.register(shutil.rmtree, _home[0], ignore_errors=True)
    for child in _home[0].iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    return _home[0] / "home"


def stream(data: bytes) -> None:
    """The framed stream of one connection: refused, or only asked files are there, each with the bytes that came."""
    home = _destination()
    landing = Landing(home)
    chunks = ChunkMap(landing)
    shelf = Shelf(landing, chunks)
    tasks = [FileTask("/far", path, path, "lease", len(content), 7) for path, content in CONTENTS.items()]
    came = 0

    def moved(size: int, wire: int, answered: bool) -> None:
        nonlocal came
        came += size

    receiver = Receiver([order for task in tasks for order in task.orders()], shelf, moved, lambda: True)
    try:
        for at in range(0, len(data), 61):
            receiver.feed(data[at : at + 61])
        receiver.end()
    except TransferError as refused:
        assert str(refused).isprintable()
        receiver.abandon()
    finally:
        close: Callable[[], None] | None = getattr(shelf, "close", None)
        if close is not None:
            close()
        chunks.close()
        landing.close()
    arrived = {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and ".rgt-partial" not in path.parts
    }
    proven = {task.path: task.sha256 for task in tasks if task.sha256 is not None}
    assert {path: hashlib.sha256(content).hexdigest() for path, content in arrived.items()} == proven
    assert all(len(content) == len(CONTENTS[path]) for path, content in arrived.items())
    assert came <= sum(map(len, CONTENTS.values())), "however little of the network it took"
    assert {path.name for path in _home[0].iterdir()} <= {"home"}


def pickle(data: bytes) -> None:
    """A pickle: described, or refused by name; walked to its end, it asks for nothing else than it is said to."""
    for whole in (False, True):
        reader = pickles.Reader(whole=whole)
        try:
            reader.read(io.BytesIO(data))
        except BrokenArtifact as broken:
            assert broken.code in {"unsafe-pickle", "malformed-pickle", "unknown-dtype"}
            continue
        assert whole or not reader.wanted
        assert {call.name for call in reader.calls} <= pickles.ALLOWED or reader.wanted
        assert all(array.dtype is None or len(array.little_endian()) == len(array.data) for array in reader.arrays)


def text(data: bytes) -> None:
    """A JSON document: a value, or refused by name."""
    try:
        parse_json(data)
    except BrokenArtifact as broken:
        assert broken.code in {"too-deep", "not-utf8", "not-json", "duplicate-key"}


def _model(loader: Callable[[Source], Outcome]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        fd = os.memfd_create("model") if hasattr(os, "memfd_create") else os.open(_file(), os.O_RDWR | os.O_CREAT)
        try:
            os.ftruncate(fd, 0)
            os.write(fd, data)
            outcome = loader(Source(fd))
        except BrokenArtifact:
            return
        finally:
            os.close(fd)
        assert all(len(name) <= 4096 for name in outcome.names)

    return target


def _file() -> str:
    _destination()
    return str(_home[0] / "model")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "stream": stream,
    "pickle": pickle,
    "json": text,
    "gguf": _model(gguf.load),
    "onnx": _model(onnx.load),
    "safetensors": _model(safetensors.load),
    "checkpoint": _model(pytorch.load),
    "zip": _model(zips.load_zip),
    "tar": _model(tars.load_tar),
    "png": _model(png.load),
    "npy": _model(arrays.load),
}


def frame(number: int, content: bytes) -> bytes:
    """An honest answer."""
    return HEADER.pack(number, PLAIN, len(content)) + content + hashlib.sha256(content).digest() + b"\1"


def packed(*numbers: int) -> Iterator[bytes]:
    """Honest answers that carry one deflate stream on."""
    pack = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    for number in numbers:
        content = list(CONTENTS.values())[number]
        wire = pack.compress(content) + pack.flush(zlib.Z_SYNC_FLUSH)
        yield HEADER.pack(number, PACKED, len(wire)) + wire + hashlib.sha256(content).digest() + b"\1"


def listing(*entries: object) -> bytes:
    """An honest list of one root."""
    lines = [json.dumps(entry, sort_keys=True).encode() for entry in entries]
    digest = hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()
    tail = {"entries": len(lines), "truncated": False, "digest": digest}
    return b"\n".join([b'{"rgt_manifest": 1}', *lines, json.dumps(tail).encode(), b""])


def archive(**members: bytes) -> bytes:
    """An honest zip; ``__`` in a name stands for a slash."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(zipfile.ZipInfo(name.replace("__", "/")), data)
    return out.getvalue()


def packed_tar() -> bytes:
    """An honest tar with a file and a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        file, link = tarfile.TarInfo("run/a"), tarfile.TarInfo("run/\u00e9")
        file.size, link.type, link.linkname = 3, tarfile.SYMTYPE, "a"
        tar.addfile(file, io.BytesIO(b"abc"))
        tar.addfile(link)
    return out.getvalue()


def image() -> bytes:
    """An honest PNG of four pixels."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(6))),
        (b"IEND", b""),
    ]
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def array() -> bytes:
    """An honest array."""
    out = io.BytesIO()
    np.save(out, np.ones(3, np.float16))
    return out.getvalue()


def seeds(target: str) -> list[bytes]:
    """Honest inputs from which a fuzzer starts."""
    entry = {"path": "a/b", "kind": "file", "size": 3, "mtime_ns": 9, "sha256": "0" * 64}
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensor = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03"
        b"\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR."
    )
    legacy = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    listed = b"\x80\x02]X\x01\x00\x00\x000a." + struct.pack("<Q", 2)
    return {
        "checkpoint": [archive(m__data__0=bytes(8), **{"m/data.pkl": tensor}), legacy + tensor + listed + bytes(8)],
        "zip": [archive(a=b"one", b__c=b"two")],
        "tar": [packed_tar()],
        "png": [image()],
        "npy": [array()],
        "manifest": [listing(entry, {**entry, "path": "c", "kind": "dir"}) + listing()],
        "stream": [
            b"".join(frame(number, content) for number, content in enumerate(CONTENTS.values())),
            frame(0, b"first") + HEADER.pack(1, REFUSED, 4) + b"gone" + frame(2, b"") + frame(3, CONTENTS["log"]),
            frame(0, b"first") + b"".join(packed(1)) + frame(2, b"") + b"".join(packed(3)),
            b"".join(packed(0, 1)) + frame(2, b"") + HEADER.pack(3, REFUSED, 0),
        ],
        "pickle": [
            b"\x80\x02}q\x00(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
            b"FloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02\x85K\x01\x85\x89}tRu.",
            dumps([np.arange(3, dtype=">f4"), np.float64(1), np.zeros((0, 2), "u1")], 2),
            dumps(argparse.Namespace(out=PurePosixPath("a/b"), n=1), 2),
            b"\x80\x02cmine\nArgs\n)\x81}X\x01\x00\x00\x00acyours\nKind\nX\x01\x00\x00\x00x\x85Rsb.",
        ],
        "json": [b'{"a": [1, NaN, "\\u0041"], "b": {"c": null}}'],
        "gguf": [
            b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<IQ", 8, 1) + b"v"
            + struct.pack("<Q", 1) + b"t" + struct.pack("<IQIQ", 1, 1, 0, 0) + bytes(40),
        ],
        "onnx": [b"\x08\x09\x42\x02\x10\x15\x3a\x0f\x2a\x0d\x08\x01\x10\x01\x42\x01a\x4a\x04\0\0\0\0"],
        "safetensors": [struct.pack("<Q", len(header)) + header + bytes(4)],
    }[target]  # fmt: skip
