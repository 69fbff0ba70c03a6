"""GGUF and ONNX files written by hand, so that each lie in them is a choice."""

import struct
from collections.abc import Sequence


def _text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(key: str, kind: int, body: bytes) -> bytes:
    """One GGUF entry."""
    return _text(key) + struct.pack("<I", kind) + body


ARCHITECTURE = entry("general.architecture", 8, _text("llama"))
TOKENS = entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + _text("a") + _text("b"))


def info(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """One GGUF tensor's description."""
    sides = struct.pack(f"<{len(shape)}Q", *shape)
    return _text(name) + struct.pack("<I", len(shape)) + sides + struct.pack("<IQ", kind, offset)


def gguf(
    infos: Sequence[bytes],
    data: bytes,
    *,
    entries: Sequence[bytes] = (ARCHITECTURE, TOKENS),
    version: int = 3,
    tensors: int | None = None,
    count: int | None = None,
) -> bytes:
    """A GGUF file with its data aligned to 32 bytes."""
    head = b"GGUF" + struct.pack(
        "<IQQ", version, len(infos) if tensors is None else tensors, len(entries) if count is None else count
    )
    head += b"".join(entries) + b"".join(infos)
    return head + bytes(-len(head) % 32) + data


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    """A protobuf field that holds a number."""
    return varint(field << 3) + varint(value)


def body(field: int, data: bytes | str, length: int | None = None) -> bytes:
    """A protobuf field that holds bytes, a text or a message."""
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data) if length is None else length) + data


def weight(name: str, shape: Sequence[int], kind: int = 1, raw: bytes | None = None, typed: bytes = b"") -> bytes:
    """An ONNX tensor."""
    sides = b"".join(number(1, side) for side in shape)
    return sides + number(2, kind) + body(8, name) + (b"" if raw is None else body(9, raw)) + typed


def onnx(*weights: bytes, nodes: Sequence[bytes] = ()) -> bytes:
    """An ONNX model."""
    graph = b"".join(body(1, node) for node in nodes) + b"".join(body(5, one) for one in weights)
    return number(1, 9) + body(8, number(2, 21)) + body(7, body(2, "graph") + graph)


def external() -> bytes:
    """An ONNX model whose only weight lies in another file."""
    place = body(13, body(1, "location") + body(2, "weights.data")) + number(14, 1)
    return onnx(weight("a", [8]) + place)


def constant(inner: bytes, field: int = 5) -> bytes:
    """A node with one attribute: a tensor (5) or a graph (6)."""
    return body(4, "Constant") + body(5, body(1, "value") + body(field, inner))
