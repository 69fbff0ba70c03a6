"""Artifacts that a hostile machine could send. Each is a file name, its bytes, and codes of which one must be found."""

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np

from tests.unit.verify import written

Artifact = tuple[str, bytes, set[str]]
LYING = {"lying-header"}
ZEROS = bytes(96 << 20)
"""More than may come out of so few packed bytes."""
UNSAFE = {"unsafe-pickle"}
MALFORMED = {"malformed-pickle"}


SHELL: Callable[..., object] = getattr(os, "system")  # noqa: B009  # named so, it is deprecated; here it is the attack


class Calls:
    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: object = None, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def checkpoint(pickled: bytes, **storages: bytes) -> bytes:
    return zipped({"m/data.pkl": pickled, **{f"m/data/{key[1:]}": data for key, data in storages.items()}})


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def tarred(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def pickles(canary: str) -> list[Artifact]:
    touch = f"touch {canary}"
    storage = b"((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\n"
    raw: dict[str, tuple[bytes, set[str]]] = {
        "system": (pickle.dumps(Calls(SHELL, touch)), UNSAFE),
        "nested": (pickle.dumps({"a": [{"b": Calls(SHELL, touch)}]}), UNSAFE),
        "nested-reducers": (pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")), UNSAFE),
        "eval": (pickle.dumps(Calls(eval, f"open({canary!r}, 'w')")), UNSAFE),
        "text-protocol": (f"cposix\nsystem\n(S'{touch}'\ntR.".encode(), UNSAFE),
        "inst": (f"(S'{touch}'\niposix\nsystem\n.".encode(), UNSAFE),
        "obj": (f"(cposix\nsystem\nS'{touch}'\no.".encode(), UNSAFE),
        "extension-code": (b"\x80\x02\x82\x01.", UNSAFE | MALFORMED),
        "computed-global": (b"\x80\x04\x8c\x05posix]\x93.", UNSAFE),
        "split-global": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", UNSAFE),
        "dotted-global": (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", UNSAFE),
        "escaped-global": (b"\x80\x02ccollections\nOrdered\\x44ict\n)R.", UNSAFE),
        "call-a-result": (b"\x80\x02ccollections\nOrderedDict\n)R)R.", UNSAFE),
        "build-a-list": (b"\x80\x02]}b.", UNSAFE),
        "persistent-id": (b"\x80\x02X\x01\x00\x00\x00xQ.", UNSAFE),
        "next-buffer": (b"\x80\x05\x97.", UNSAFE),
        "pop-behind-mark": (b"\x80\x02(0000.", UNSAFE | MALFORMED),
        "no-stop": (b"\x80\x02}", MALFORMED),
        "empty-stack": (b"\x80\x02.", MALFORMED),
        "memo-of-nothing": (b"\x80\x02h\x05.", MALFORMED),
        "huge-length": (b"\x80\x04\x8d" + b"\xff" * 8 + b".", MALFORMED),
        "text-storage": (storage, UNSAFE | MALFORMED),
    }
    artifacts: list[Artifact] = [(f"{name}.pt", checkpoint(data), wanted) for name, (data, wanted) in raw.items()]
    artifacts.append(("legacy-call.pt", raw["system"][0], UNSAFE))
    artifacts.append(("bin-call.bin", checkpoint(raw["system"][0]), UNSAFE))
    artifacts.append(("two-pickles.pt", zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N."}), {"not-a-checkpoint"}))
    artifacts.append(("no-pickle.pt", zipped({"a/code.py": b"1"}), {"not-a-checkpoint"}))
    return artifacts


def headers() -> list[Artifact]:
    four = b"\x01" * 16
    cases: dict[str, tuple[bytes, set[str]]] = {
        "huge-header": (tensors({}, length=2**63), LYING),
        "long-header": (tensors({}, length=99), LYING),
        "short": (b"\x01", {"truncated"}),
        "overlap": (tensors({"a": entry(0, 12), "b": entry(8, 16)}, four), {"overlap"}),
        "same-bytes": (tensors({"a": entry(0, 16), "b": entry(0, 16)}, four), {"overlap"}),
        "gap": (tensors({"a": entry(0, 4), "b": entry(8, 16)}, four), {"gap"}),
        "trailing": (tensors({"a": entry(0, 4)}, four), {"trailing-bytes"}),
        "cut": (tensors({"a": entry(0, 400)}, four), {"truncated"}),
        "wrong-size": (tensors({"a": entry(0, 16, [3])}, four), LYING),
        "negative": (tensors({"a": entry(0, 16, [-2, -2])}, four), LYING),
        "backwards": (tensors({"a": {"dtype": "F32", "shape": [0], "data_offsets": [8, 0]}}, four), LYING),
        "overflow": (tensors({"a": entry(0, 16, [2**61, 2**61])}, four), LYING),
        "bool-shape": (tensors({"a": entry(0, 4, [True])}, four[:4]), LYING),
        "dtype": (tensors({"a": entry(0, 16, [4], "OBJECT")}, four), {"unknown-dtype"}),
        "twice": (tensors(b'{"a":{},"a":{}}'), {"duplicate-key"}),
        "deep": (tensors(b'{"a":' * 100_000), {"too-deep"}),
        "list": (tensors([1]), LYING),
        "metadata": (tensors({"__metadata__": {"step": 1}}), LYING),
    }
    return [(f"{name}.safetensors", data, wanted) for name, (data, wanted) in cases.items()]


def others() -> list[Artifact]:
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], object), allow_pickle=True)
    bomb = zipped({"a": ZEROS}, zipfile.ZIP_DEFLATED)
    zeros = gzip.compress(ZEROS)
    shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }"
    return [
        ("object.npy", objects.getvalue(), {"object-dtype"}),
        ("object.npz", zipped({"a.npy": objects.getvalue()}), {"object-dtype"}),
        ("huge.npy", npy(shape % 10**15), {"truncated"}),
        ("negative.npy", npy(shape % -1), LYING),
        ("code.npy", npy("__import__('os').system('true')"), LYING),
        ("header.npy", npy("(" * 60_000), LYING),
        ("deep.json", b"[" * 100_000 + b"]" * 100_000, {"too-deep"}),
        ("deep-object.json", b'{"a":' * 100_000, {"too-deep"}),
        ("open.json", b'{"a": "', {"not-json"}),
        ("digits.json", b"9" * 100_000, {"not-json"}),
        ("latin.json", b'"\xff"', {"not-utf8"}),
        ("line.jsonl", b"1" * (9 << 20), {"line-too-long"}),
        ("bomb.zip", bomb, {"bomb"}),
        ("zeros.gz", zeros, {"bomb"}),
        ("zeros.tar.gz", zeros, {"bomb"}),
        ("cut.gz", gzip.compress(b"abc" * 99)[:-6], {"corrupt"}),
        ("up.zip", zipped({"../a": b""}), {"unsafe-name"}),
        ("absolute.zip", zipped({"/a": b""}), {"unsafe-name"}),
        ("drive.zip", zipped({"C:/a": b""}), {"unsafe-name"}),
        ("direction.zip", zipped({"a\u202etxt.exe": b""}), {"unsafe-name"}),
        ("not.zip", b"PK\x03\x04" + b"\0" * 60, {"corrupt"}),
        ("up.tar", tarred(member("../a")), {"unsafe-name"}),
        ("link.tar", tarred(member("a", tarfile.SYMTYPE, "/etc/passwd")), {"unsafe-name"}),
        ("hard.tar", tarred(member("a", tarfile.LNKTYPE, "/etc/passwd")), {"unsafe-name"}),
        ("up-link.tar", tarred(member("a", tarfile.SYMTYPE, "b/../..")), {"unsafe-name"}),
        ("through.tar", tarred(member("a", tarfile.SYMTYPE, "b"), member("a/evil")), {"unsafe-name"}),
        ("case.tar", tarred(member("./Out", tarfile.SYMTYPE, "b"), member("out/evil")), {"unsafe-name"}),
        ("replaced.tar", tarred(member("a", tarfile.SYMTYPE, "b"), member("a")), {"unsafe-name"}),
        ("over.tar", tarred(member("a", tarfile.SYMTYPE, "."), member("a/a/evil")), {"unsafe-name"}),
        ("links.tar", tarred(*(member(f"l{n}", tarfile.SYMTYPE, "b") for n in range(1100))), {"unsafe-name"}),
        ("device.tar", tarred(member("a", tarfile.CHRTYPE)), {"unsafe-name"}),
    ]


def models() -> list[Artifact]:
    """GGUF and ONNX files that lie."""
    ones = np.ones(8, np.float32).tobytes()
    two = [written.info("a", [8], 0, 0), written.info("b", [8], 0, 32)]
    far = struct.pack("<Q", 2**63)
    cases: dict[str, tuple[bytes, set[str]]] = {
        "tensors": (written.gguf([], b"", tensors=2**60), {"too-many-values"}),
        "entries": (written.gguf([], b"", count=2**60), {"too-many-values"}),
        "key": (written.gguf([], b"", entries=[far]), {"truncated"}),
        "array": (written.gguf([], b"", entries=[written.entry("k", 9, struct.pack("<IQ", 4, 2**62))]), {"truncated"}),
        "texts": (
            written.gguf([], b"", entries=[written.entry("k", 9, struct.pack("<IQ", 8, 2**62))]),
            {"too-many-values"},
        ),
        "nested": (
            written.gguf([], b"", entries=[written.entry("k", 9, struct.pack("<IQ", 9, 1) * 99)]),
            LYING,
        ),
        "kind": (written.gguf([], b"", entries=[written.entry("k", 77, b"")]), LYING),
        "alignment": (
            written.gguf([], b"", entries=[written.entry("general.alignment", 4, struct.pack("<I", 0))]),
            LYING,
        ),
        "sides": (written.gguf([written.info("a", [2] * 9, 0, 0)], ones), LYING),
        "product": (written.gguf([written.info("a", [2**62, 2**62], 0, 0)], ones), {"truncated"}),
        "twice": (written.gguf([two[0], written.info("a", [8], 0, 32)], ones * 2), {"duplicate-name"}),
        "overlap": (written.gguf([two[0], written.info("b", [8], 0, 0)], ones * 2), {"overlap"}),
        "gap": (written.gguf([two[0], written.info("b", [8], 0, 128)], ones * 5), {"gap"}),
        "trailing": (written.gguf(two, ones * 4), {"trailing-bytes"}),
        "odd": (written.gguf([written.info("a", [8], 0, 4)], ones * 2), LYING),
        "block": (written.gguf([written.info("a", [33], 8, 0)], ones * 2), LYING),
        "version": (written.gguf(two, ones * 2, version=1), {"unknown-version"}),
        "big-endian": (written.gguf(two, ones * 2, version=3 << 24), {"unknown-version"}),
    }
    files: list[Artifact] = [(f"{name}.gguf", data, wanted) for name, (data, wanted) in cases.items()]
    deep = b""
    for _ in range(40):
        deep = written.body(1, written.constant(deep, 6))
    place = written.body(13, written.body(1, "location") + written.body(2, "../../etc/passwd")) + written.number(14, 1)
    protobufs: dict[str, tuple[bytes, set[str]]] = {
        "shape": (written.onnx(written.weight("a", [9], raw=ones)), {"lying-tensor"}),
        "huge": (written.onnx(written.weight("a", [2**61, 2**61], raw=ones)), LYING),
        "negative": (written.onnx(written.weight("a", [2**64 - 1], raw=ones)), LYING),
        "typed": (written.onnx(written.weight("a", [9], typed=written.body(4, ones))), {"lying-tensor"}),
        "both": (written.onnx(written.weight("a", [8], raw=ones, typed=written.body(4, ones))), {"lying-tensor"}),
        "ragged": (written.onnx(written.weight("a", [2], typed=written.body(4, ones[:7]))), {"malformed"}),
        "none": (written.onnx(written.weight("a", [8])), {"lying-tensor"}),
        "untyped": (written.onnx(written.weight("a", [8], 0, raw=ones)), LYING),
        "outside": (written.onnx(written.weight("a", [8]) + place), {"unsafe-name"}),
        "length": (written.number(1, 9) + written.body(7, b"", length=2**62), {"truncated"}),
        "group": (b"\x0b" * 99, {"malformed"}),
        "field": (b"\x00\x00", {"malformed"}),
        "varint": (b"\x08" + b"\xff" * 20, {"malformed"}),
        "text": (b"not a model", {"malformed", "truncated", "not-onnx"}),
        "deep": (written.number(1, 9) + written.body(8, b"") + written.body(7, deep), {"too-deep"}),
        "two-graphs": (written.onnx() + written.body(7, b""), {"not-onnx"}),
    }
    return [*files, *((f"{name}.onnx", data, wanted) for name, (data, wanted) in protobufs.items())]


def pictures() -> list[Artifact]:
    """Images and tables that lie; each needs its library, and says so without it."""
    header = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\0\0" + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\0\x02\x01\x44\0\x3b"
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    footer = b"PAR1" + b"\x15\x02" * 50 + struct.pack("<I", 100) + b"PAR1"
    return [
        ("pixels.gif", header + frame, {"bomb", "no-loader"}),
        ("pixels.bmp", bmp, {"bomb", "corrupt", "no-loader"}),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", {"corrupt", "no-loader"}),
        ("not.jpg", b"<?php system('id');", {"not-an-image"}),
        ("not.webp", b"RIFF\0\0\0\0WAVE", {"not-an-image"}),
        (
            "endless.tiff",
            b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8),
            {"corrupt", "no-loader"},
        ),
        ("footer.parquet", footer, {"corrupt", "no-loader"}),
        ("claims.parquet", b"PAR1" + bytes(20) + b"\xff\xff\xff\x7fPAR1", LYING),
        ("cut.parquet", b"PAR1" + bytes(20), {"truncated"}),
        ("bare.pkl", pickle.dumps(Calls(SHELL, "true")), {"pickle"}),
    ]


def packings() -> list[Artifact]:
    """More bombs, and archives that are something else."""
    xz = lzma.compress(ZEROS, preset=0)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        archive.addfile(member("../../evil"))
    long_name = tarfile.TarInfo("a" * 10_000)
    sparse = tarfile.TarInfo("s")
    sparse.type = tarfile.GNUTYPE_SPARSE
    artifacts: list[Artifact] = [
        ("zeros.bz2", bz2.compress(ZEROS, 9), {"bomb"}),
        ("zeros.xz", xz, {"bomb"}),
        ("zeros.tar.xz", xz, {"bomb"}),
        ("up.tar.gz", gzip.compress(inner.getvalue()), {"unsafe-name"}),
        ("up.tar.bz2", bz2.compress(inner.getvalue()), {"unsafe-name"}),
        ("memory.xz", XZ_OF_4_GIB, {"corrupt", "memory-limit"}),
        ("sparse.tar", tarred(sparse), {"unsafe-name", "corrupt"}),
        ("pipe.tar", tarred(member("p", tarfile.FIFOTYPE)), {"unsafe-name"}),
        ("escape.tar", tarred(member("a\x1b[2J")), {"unsafe-name"}),
        ("cut.tar", tarred(long_name)[:700], {"corrupt", "truncated"}),
        ("link.zip", linked_zip(), {"unsafe-name"}),
        ("overlap.zip", overlapping_zip(), {"overlap", "duplicate-member", "corrupt"}),
        ("before.zip", zipped({"evil": b"x"}) + zipped({"good": b"x"}), {"two-directories"}),
        ("before.pt", checkpoint(b"N.") + checkpoint(b"N."), {"two-directories"}),
        ("comment.pt", commented_zip(checkpoint(b"N.")), {"two-directories", "corrupt"}),
        ("locator.zip", located_zip(zipped({"a": b"x"})), {"two-directories", "corrupt"}),
    ]
    if importlib.util.find_spec("zstandard") is not None:
        import zstandard

        artifacts.append(("zeros.zst", zstandard.compress(ZEROS), {"bomb"}))
        artifacts.append(("zeros.tar.zst", zstandard.compress(ZEROS), {"bomb"}))
    return artifacts


XZ_OF_4_GIB = bytes.fromhex("fd377a585a0000016922de36") + bytes.fromhex("02002101280000000000000000000000")
"""A header that asks the reader for a dictionary of 4 GiB."""


def linked_zip() -> bytes:
    """A zip whose only member is a link."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("l")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def commented_zip(whole: bytes) -> bytes:
    """A zip whose end record sends other readers than Python's to a second directory, in its comment."""
    at = whole.rindex(b"PK\x05\x06")
    length, begin = struct.unpack("<2L", whole[at + 12 : at + 20])
    first = at + 22
    directory = bytearray(whole[begin:at])
    assert length == len(directory) and directory.count(b"PK\x01\x02") == 1
    directory[42:46] = struct.pack("<L", first - begin)
    end = whole[at : at + 12] + struct.pack("<2LH", length, first, length)
    return whole[:begin] + bytes(directory) + end + whole[begin:at]


def located_zip(whole: bytes) -> bytes:
    """A zip with a record of a large zip that lies elsewhere than right before its locator."""
    at = whole.rindex(b"PK\x05\x06")
    length, begin = struct.unpack("<2L", whole[at + 12 : at + 20])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, length, begin)
    return whole[:at] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + whole[at:]


def overlapping_zip() -> bytes:
    """A zip of many names for the same packed bytes."""
    whole = zipped({"a": b"x" * 2000, "b": b"x" * 2000})
    at = whole.rindex(b"PK\x01\x02")
    return whole[: at + 42] + bytes(4) + whole[at + 46 :]


def families(canary: str) -> dict[str, Callable[[], list[Artifact]]]:
    """All artifacts, by what they pretend to be."""
    return {
        "pickles": lambda: pickles(canary),
        "headers": headers,
        "documents and arrays": others,
        "models": models,
        "pictures and tables": pictures,
        "packings": packings,
    }
