"""Artifacts that a hostile machine could send. Each is a file name, its bytes, and codes of which one must be found."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np

Artifact = tuple[str, bytes, set[str]]
LYING = {"lying-header"}
UNSAFE = {"unsafe-pickle"}
MALFORMED = {"malformed-pickle"}


SHELL: Callable[..., object] = getattr(os, "system")  # noqa: B009  # named so, it is deprecated; here it is the attack


class _Calls:
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
        "system": (pickle.dumps(_Calls(SHELL, touch)), UNSAFE),
        "nested": (pickle.dumps({"a": [{"b": _Calls(SHELL, touch)}]}), UNSAFE),
        "nested-reducers": (pickle.dumps(_Calls(getattr, _Calls(__import__, "os"), "system")), UNSAFE),
        "eval": (pickle.dumps(_Calls(eval, f"open({canary!r}, 'w')")), UNSAFE),
        "text-protocol": (f"cposix\nsystem\n(S'{touch}'\ntR.".encode(), UNSAFE),
        "inst": (f"(S'{touch}'\niposix\nsystem\n.".encode(), UNSAFE),
        "obj": (f"(cposix\nsystem\nS'{touch}'\no.".encode(), UNSAFE),
        "extension-code": (b"\x80\x02\x82\x01.", UNSAFE | MALFORMED),
        "computed-global": (b"\x80\x04\x8c\x05posix]\x93.", UNSAFE),
        "split-global": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", UNSAFE),
        "dotted-global": (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", UNSAFE),
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
        "deep": (tensors(b"[" * 100_000), {"too-deep"}),
        "list": (tensors([1]), LYING),
        "metadata": (tensors({"__metadata__": {"step": 1}}), LYING),
    }
    return [(f"{name}.safetensors", data, wanted) for name, (data, wanted) in cases.items()]


def others() -> list[Artifact]:
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], object), allow_pickle=True)
    bomb = zipped({"a": b"\0" * (200 << 20)}, zipfile.ZIP_DEFLATED)
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
        ("zeros.gz", gzip.compress(b"\0" * (200 << 20)), {"bomb"}),
        ("zeros.tar.gz", gzip.compress(b"\0" * (200 << 20)), {"bomb"}),
        ("cut.gz", gzip.compress(b"abc" * 99)[:-6], {"corrupt"}),
        ("up.zip", zipped({"../a": b""}), {"unsafe-name"}),
        ("absolute.zip", zipped({"/a": b""}), {"unsafe-name"}),
        ("drive.zip", zipped({"C:/a": b""}), {"unsafe-name"}),
        ("direction.zip", zipped({"a\u202etxt.exe": b""}), {"unsafe-name"}),
        ("not.zip", b"PK\x03\x04" + b"\0" * 60, {"corrupt"}),
        ("up.tar", tarred(member("../a")), {"unsafe-name"}),
        ("link.tar", tarred(member("a", tarfile.SYMTYPE, "/etc/passwd")), {"unsafe-name"}),
        ("hard.tar", tarred(member("a", tarfile.LNKTYPE, "/etc/passwd")), {"unsafe-name"}),
        ("device.tar", tarred(member("a", tarfile.CHRTYPE)), {"unsafe-name"}),
    ]


def all_artifacts(canary: str) -> list[Artifact]:
    return [*pickles(canary), *headers(), *others()]
