"""PNG: every chunk's CRC, and the pixels inflated to exactly the size that the header promises."""

import zlib
from typing import Any

from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

_MAGIC = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_WHOLE, _WOVEN = ((0, 0, 1, 1),), (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Passes over the pixels: first column and row, and the steps between. Source: PNG, 3rd edition, 8.1."""
PIXEL_BYTES_MOST = 1 << 30
CHUNK_MOST = 64 << 20


def load(source: Source) -> Outcome:
    """Read the image.

    Raises:
        BrokenArtifact: a CRC, the order of chunks or the amount of pixels is wrong, or it is a bomb.
    """
    if source.size < 33 or source.read(0, 8) != _MAGIC:
        raise BrokenArtifact("not-png", "it does not begin as a PNG")
    offset, expected, got, kind = 8, 0, 0, b""
    inflate = zlib.decompressobj()
    outcome = Outcome()
    while kind != b"IEND":
        head = source.read(offset, 8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if length > CHUNK_MOST or (offset == 8) != (kind == b"IHDR"):
            raise BrokenArtifact("corrupt", f"the chunk at {offset} is too long or out of order")
        body = source.read(offset + 8, length)
        if zlib.crc32(kind + body) != int.from_bytes(source.read(offset + 8 + length, 4), "big"):
            raise BrokenArtifact("corrupt", f"the CRC of the chunk at {offset} is wrong")
        if kind == b"IHDR":
            expected = _header(body, outcome)
        elif kind == b"IDAT":
            got += _inflated(inflate, body, expected)
        offset += 12 + length
    if got != expected or not inflate.eof:
        raise BrokenArtifact("truncated", f"{got} bytes of pixels, or their checksum, where {expected} are promised")
    if offset != source.size:
        outcome.warn("trailing-bytes", f"{source.size - offset} bytes follow the image")
    return outcome


def _header(body: bytes, outcome: Outcome) -> int:
    width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    if len(body) != 13 or body[8] not in _DEPTHS.get(body[9], ()) or any(body[10:12]) or body[12] > 1:
        raise BrokenArtifact("lying-header", "its header is impossible")
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        raise BrokenArtifact("lying-header", f"it cannot have {width} x {height} pixels")
    outcome.facts.update(width=width, height=height, interlaced=bool(body[12]))
    size = 0
    for left, top, right, down in _WOVEN if body[12] else _WHOLE:
        columns, rows = -((left - width) // right), -((top - height) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * _CHANNELS[body[9]] * body[8] + 7) // 8)
    if size > PIXEL_BYTES_MOST:
        raise BrokenArtifact("bomb", f"{width} x {height} pixels are more than is unpacked")
    return size


def _inflated(inflate: Any, body: bytes, expected: int) -> int:
    count = 0
    try:
        while body:
            count += len(inflate.decompress(body, 1 << 20))
            body = inflate.unconsumed_tail
            if count > 2 * expected + 4096:
                raise BrokenArtifact("bomb", f"it unpacks to more than the {expected} bytes of its pixels")
    except zlib.error as error:
        raise BrokenArtifact("corrupt", f"its pixels cannot be unpacked: {error}") from error
    return count
