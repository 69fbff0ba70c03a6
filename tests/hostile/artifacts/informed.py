"""Artifacts of an attacker who has read the loaders; name, bytes and codes as in ``makers``."""

import gzip
import importlib.util
import io
import json
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from tests.hostile.artifacts import zips
from tests.hostile.artifacts.makers import (
    LYING,
    MALFORMED,
    UNSAFE,
    ZEROS,
    Artifact,
    checkpoint,
    entry,
    member,
    npy,
    tarred,
    tensors,
)
from tests.unit.verify import written

FOUR = np.arange(1, 5, dtype=np.float32).tobytes()
TENSOR = {"lying-tensor"}


def text(value: str | bytes) -> bytes:
    """A text as protocol 2 writes it."""
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """A whole number of any size."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def stored(
    key: str = "0", kind: bytes = b"torch\nFloatStorage", elements: bytes = b"K\x04", more: bytes = b""
) -> bytes:
    """A persistent id of a storage."""
    return b"(" + text("storage") + b"c" + kind + b"\n" + text(key) + text("cpu") + elements + more + b"tQ"


def rebuilt(
    offset: bytes = b"K\x00", sizes: bytes = b"K\x04\x85", strides: bytes = b"K\x01\x85", held: bytes = b""
) -> bytes:
    """A tensor over a storage."""
    rest = b"\x89ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (held or stored()) + offset + sizes + strides + rest + b"R"


def named(module: str, name: str) -> bytes:
    """A global of names that are put together on the stack."""
    return text(module) + text(name) + b"\x93"


def pickles() -> list[Artifact]:
    """Ways around an allow list of globals, and tensors that are more than their bytes."""
    cases: dict[str, tuple[bytes, set[str]]] = {
        "juggled": (b"(" + text("posix") + b"q\x00" + text("system") + b"q\x01h\x00h\x01\x93)Rt", UNSAFE),
        "extension": (b"\x84\x01\x00\x00\x00", UNSAFE | MALFORMED),
        "setstate": (b"cmine\nArgs\n)\x81}" + text("__setstate__") + b"cposix\nsystem\nsb", UNSAFE),
        "bytes-out-of-band": (b"\x98", UNSAFE),
        "bytearray8": (b"\x96" + struct.pack("<Q", 2**62), UNSAFE | MALFORMED),
        "look-alike": (named("p\u043esix", "system") + b")R", UNSAFE),
        "carriage-return": (b"cposix\r\nsystem\n)R", UNSAFE),
        "spaced": (named("mine posix", "system") + b")R", UNSAFE),
        "joined-names": (named("", "collections OrderedDict") + b")R", UNSAFE),
        "direction": (named("mine", "a\u202eb") + b")R", UNSAFE),
        "lone-mark": (b"(", MALFORMED),
        "open-mark": (b"N(N", MALFORMED),
        "mark-in-a-tuple": (b"(N\x86", MALFORMED),
        "kept-mark": (b"(q\x00N\x85h\x00\x85t", MALFORMED),
        "filled-tuple": (b")Na", UNSAFE | MALFORMED),
        "odd-entries": (b"}(NNNu", MALFORMED),
        "listed-dict": (b"}Na", UNSAFE | MALFORMED),
        "room": (b"c__builtin__\nbytearray\n" + number(2**40) + b"\x85R", UNSAFE),
        "codec": (b"c_codecs\nencode\n" + text("x") + text("zlib_codec") + b"\x86R", UNSAFE),
        "size-of-texts": (b"ctorch\nSize\n" + text("x") + b"\x85\x85R", UNSAFE),
        "device-of-a-list": (b"ctorch\ndevice\n]\x85R", UNSAFE),
        "without-arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n)R", TENSOR),
        "parameter-of-a-text": (b"ctorch._utils\n_rebuild_parameter\n" + text("w") + b"\x88}\x87R", TENSOR),
        "negative-offset": (rebuilt(offset=number(-1)), TENSOR),
        "huge-offset": (rebuilt(offset=number(2**63)), TENSOR),
        "huge-shape": (rebuilt(sizes=number(2**62) + b"\x85"), TENSOR),
        "stretched": (rebuilt(sizes=number(2**62) + number(8) + b"\x86", strides=b"K\x00K\x00\x86"), TENSOR),
        "backwards": (rebuilt(offset=b"K\x03", strides=number(-1) + b"\x85"), TENSOR),
        "one-stride-less": (rebuilt(strides=b")"), TENSOR),
        "truths": (rebuilt(sizes=b"\x88\x85"), TENSOR),
        "hooks": (rebuilt().replace(b"ccollections\nOrderedDict\n)R", b"}" + text("a") + b"Ns"), TENSOR),
        "way-out": (rebuilt(held=stored("../../../../etc/passwd")), {"missing-storage"}),
        "endless-storage": (rebuilt(held=stored(elements=number(2**200))), {"lying-storage"}),
        "true-storage": (rebuilt(held=stored(elements=b"\x88")), UNSAFE),
        "more-than-a-storage": (rebuilt(held=stored(more=b"]]")), UNSAFE),
        "type-as-storage": (rebuilt(held=stored(kind=b"torch\nfloat32")), {"unknown-dtype"}),
        "two-kinds": (b"(" + rebuilt() + rebuilt(held=stored(kind=b"torch\nHalfStorage")) + b"t", MALFORMED),
        "endless-step": (b"}(" + text("step") + number(2**2000) + text("w") + rebuilt(offset=b"K\x01") + b"u", TENSOR),
    }  # fmt: skip
    artifacts: list[Artifact] = [
        (f"{name}.pt", checkpoint(b"\x80\x04" + body + b".", _0=FOUR), wanted) for name, (body, wanted) in cases.items()
    ]
    two = b"(" + rebuilt() + rebuilt(held=stored("1")) + b"t"
    four = struct.pack("<Q", 4) + FOUR
    artifacts += [
        ("one-storage-twice.pt", legacy(two, [b"0", b"0"], four + four), {"missing-storage", "lying-storage"}),
        ("other-protocol.pt", legacy(rebuilt(), [b"0"], four, protocol=1002), {"not-a-checkpoint"}),
        ("claimed-text.pt", legacy(b"\x8d" + struct.pack("<Q", 2**40), [], b""), MALFORMED),
        (
            "flipped.pt",
            checkpoint(b"\x80\x02" + rebuilt() + b".", _0=FOUR).replace(FOUR, FOUR[:15] + b"A"),
            {"corrupt"},
        ),
        ("packed.pt", packed_storage(), {"lying-storage"}),
        ("behind-the-stop.pt", checkpoint(b"\x80\x02N.cposix\nsystem\n."), {"trailing-bytes"}),
        ("flipped-pickle.pt", checkpoint(b"\x80\x02]q\x07.").replace(b"]q\x07", b"]q\x09", 1), {"corrupt"}),
    ]
    return artifacts


def legacy(root: bytes, keys: list[bytes], data: bytes, protocol: int = 1001) -> bytes:
    """A file as torch wrote it before zips."""
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M" + struct.pack("<H", protocol) + b".\x80\x02}."
    listed = b"\x80\x02](" + b"".join(text(key) for key in keys) + b"e."
    return head + b"\x80\x02" + root + b"." + listed + data


def packed_storage() -> bytes:
    """A checkpoint whose storage is deflated, so that no reader can map it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + rebuilt() + b".")
        archive.writestr("m/data/0", FOUR, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def numbers() -> list[Artifact]:
    """Headers of tensors that hold more, or other things, than they say."""
    shape = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }"
    ones = np.ones(8, np.float32).tobytes()
    align = written.entry("general.alignment", 4, struct.pack("<I", 32))
    doubles = written.entry("k", 9, struct.pack("<IQ", 12, 2**62))
    letters = written.entry("k", 8, struct.pack("<Q", 2**64 - 8))
    many = [written.weight(f"w{n}", [1], 1000 + n, raw=b"1") for n in range(90)]
    place = written.body(13, written.body(1, "location") + written.body(2, "w.data")) + written.number(14, 1)
    half = b'{"\\ud800":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'
    nul = place.replace(b"w.data", b"w\0data")
    node = written.body(7, written.constant(written.weight("c", [9], raw=ones)))
    sparse = written.body(15, written.body(1, written.weight("v", [9], raw=ones)))
    trained = written.body(20, written.body(1, written.body(5, written.weight("t", [9], raw=ones))))
    graph = written.body(7, written.body(2, "g") + sparse)
    bare = written.number(1, 9) + written.body(8, written.number(2, 21))
    return [
        ("metadata-twice.safetensors", tensors(b'{"__metadata__":{},"__metadata__":{}}'), {"duplicate-key"}),
        ("key-twice-within.safetensors", tensors(b'{"a":{"dtype":"F32","dtype":"F32"}}'), {"duplicate-key"}),
        ("wrapped.safetensors", tensors({"a": entry(2**64 - 16, 2**64)}, FOUR), LYING),
        ("nested-metadata.safetensors", tensors({"__metadata__": {"a": {"b": "c"}}}), LYING),
        ("padded.safetensors", tensors(b" " * (8 << 20) + b"{}"), LYING),
        ("half-a-letter.safetensors", tensors(half, b"1"), {"not-utf8"}),
        ("not-a-number.safetensors", tensors(b'{"a":NaN}'), LYING),
        ("fractions.safetensors", tensors({"a": entry(0, 16, [4.0])}, FOUR), LYING),
        ("sides.safetensors", tensors({"a": entry(0, 4, [1] * 65)}, FOUR[:4]), LYING),
        ("type-list.safetensors", tensors({"a": entry(0, 16, [4], ["F32"])}, FOUR), LYING),
        ("fortran.npy", npy(shape % ("<f8", True, "(2147483648, 1073741824, 1)")), {"truncated"} | LYING),
        ("nothing.npy", npy(shape % ("<f8", False, "(4611686018427387903, 4611686018427387903, 0)")), LYING),
        ("weightless.npy", npy(shape % ("|V0", False, "(1099511627776,)")), LYING),
        ("wide.npy", npy(shape % ("|V2147483647", False, "(9223372036854775807,)")), LYING | {"truncated"}),
        ("names.npy", npy("{'descr': __builtins__, 'fortran_order': open, 'shape': (1,), }"), LYING),
        ("added.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1 + 1,), }"), LYING),
        ("array-overflow.gguf", written.gguf([], b"", entries=[doubles]), {"truncated"}),
        ("text-overflow.gguf", written.gguf([], b"", entries=[letters]), {"truncated"}),
        ("counts-wrap.gguf", written.gguf([], b"", tensors=2**63, count=2**63), {"too-many-values"}),
        ("offset-wraps.gguf", written.gguf([written.info("a", [8], 0, 2**64 - 32)], ones), {"gap", "truncated"}),
        ("two-alignments.gguf", written.gguf([], b"", entries=[align, align]), {"duplicate-key"}),
        ("endless-product.onnx", written.onnx(written.weight("a", [2**61] * 400) + place), LYING),
        ("many-types.onnx", written.onnx(*many), {"unknown-dtype"}),
        ("place-of-nul.onnx", written.onnx(written.weight("a", [8]) + nul), {"unsafe-name"}),
        ("in-a-function.onnx", written.onnx() + written.body(25, node), TENSOR),
        ("sparse.onnx", bare + graph, TENSOR),
        ("for-training.onnx", written.onnx() + trained, TENSOR),
    ]  # fmt: skip


def png(header: bytes, pixels: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    middle = chunk(b"IDAT", pixels) if pixels else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")


def streams() -> list[Artifact]:
    """Images, packings, tables and documents."""
    grey = struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)
    raw = zlib.compress(bytes(20))
    zeros = gzip.compress(ZEROS[: 16 << 20])
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 9) + b"".join(
        struct.pack("<HHII", *field)
        for field in (
            (256, 4, 1, 80_000), (257, 4, 1, 80_000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 130),
            (277, 3, 1, 1), (278, 4, 1, 80_000), (279, 4, 1, 9),
        )
    ) + bytes(4) + zlib.compress(b"")  # fmt: skip
    artifacts: list[Artifact] = [
        ("woven.png", png(grey[:12] + b"\1", b""), {"truncated"}),
        ("woven-short.png", png(grey[:12] + b"\1", zlib.compress(bytes(9))), {"truncated"}),
        ("woven-flat.png", png(grey[:12] + b"\1", raw), {"truncated"}),
        ("no-depth.png", png(struct.pack(">IIBBBBB", 4, 4, 0, 0, 0, 0, 0), zlib.compress(bytes(4))), LYING),
        ("odd-depth.png", png(struct.pack(">IIBBBBB", 4, 4, 8, 3, 7, 0, 0), raw), LYING),
        ("unsealed.png", png(grey, raw[:-4]), {"truncated", "corrupt"}),
        ("more-pixels.png", png(grey, zlib.compress(ZEROS)), {"bomb"}),
        ("wide.png", png(struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0), raw), {"bomb"}),
        ("wide.tiff", tiff, {"bomb", "no-loader"}),
        ("members.gz", zeros * 6, {"bomb"}),
        ("long-name.gz", b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 70_000, {"corrupt"}),
        ("behind.gz", gzip.compress(b"x") + b"PK\x03\x04", {"corrupt"}),
        ("minus-digits.json", b"-" + b"9" * 1_000_000, {"not-json"}),
        ("marked.json", b"\xef\xbb\xbf{}", {"not-json"}),
        ("half.json", b'{"\\udc00": 1}', {"not-utf8"}),
        ("twice.json", b'{"loss": 1, "l\\u006fss": 2}', {"duplicate-key"}),
        ("part-of-nul.index.json", json.dumps({"weight_map": {"a": "w\0.bin"}}).encode(), {"unsafe-name"}),
        ("field.csv", b"a,b\n" + b"x" * (9 << 20), {"line-too-long"}),
        ("lines.csv", b'a,b\n"' + b"x\n" * (1 << 20), {"not-csv"}),
        *tars(),
    ]
    if importlib.util.find_spec("zstandard") is not None:
        artifacts += [
            ("window.zst", b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\0\0", {"corrupt"}),
            ("skip.zst", b"\x50\x2a\x4d\x18" + b"\xff" * 4, {"corrupt"}),
        ]
    return artifacts


def tars() -> list[Artifact]:
    """Tars of fields that override fields."""

    def pax(headers: dict[str, str], info: tarfile.TarInfo | None = None) -> bytes:
        info = info or member("a")
        info.pax_headers = headers
        return tarred(info)

    plain = tarred(member("a"))

    def sized(field: bytes) -> bytes:
        block = bytearray(plain)
        block[124:136] = field.ljust(12, b"\0")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block[:512])
        return bytes(block)

    composed, apart = (unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD"))
    wanted = {"corrupt", "truncated", "unsafe-name"}
    return [
        ("pax-path.tar", pax({"path": "../../evil"}), {"unsafe-name"}),
        ("pax-link.tar", pax({"linkpath": "/etc/passwd"}, member("a", tarfile.SYMTYPE, "b")), {"unsafe-name"}),
        ("pax-size.tar", pax({"size": "99999999999"}), wanted),
        ("pax-negative.tar", pax({"size": "-99999"}), wanted),
        ("pax-sparse.tar", pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b"}), wanted),
        ("negative-size.tar", sized(b"\xff" * 11 + b"\x00"), wanted),
        ("endless-size.tar", sized(b"\x80" + b"\x7f" * 11), wanted),
        ("zero-record.tar", pax({"a": "b"}).replace(b"6 a=b\n", b"0 a=b\n"), wanted),
        ("normal-form.tar", tarred(member(composed, tarfile.SYMTYPE, "b"), member(f"{apart}/evil")), {"unsafe-name"}),
        ("contiguous.tar", tarred(member("a", tarfile.CONTTYPE), member("b", b"Z")), wanted),
    ]  # fmt: skip


def families() -> dict[str, Callable[[], list[Artifact]]]:
    """All of them, by what they pretend to be."""
    return {
        "pickles with the loader's grammar in mind": pickles,
        "zips of two minds": zips.artifacts,
        "headers of numbers": numbers,
        "streams": streams,
    }
