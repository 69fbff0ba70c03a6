"""Compressed answers of a stranger: inflated piece by piece, and never to more than was asked for."""

import zlib
from collections.abc import Iterator

BLOCK = 1 << 20


class NotWhatWasPacked(Exception):
    """A deflate stream that is broken, or holds more or less than it should; the text says which."""


class Unpacker:
    """The one raw deflate stream of a connection, which all its compressed answers carry on (RFC 1951).

    Each of them ends at a byte, and the stream itself never ends: a later answer may refer to what an earlier one held.
    """

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def pieces(self, packed: memoryview, most: int) -> Iterator[bytes]:
        """What these bytes hold, in pieces of at most 1 MiB and ``most`` in all.

        Raises:
            NotWhatWasPacked: they hold more, or are no part of such a stream.
        """
        data: memoryview | bytes = packed
        while True:
            try:
                piece = self._stream.decompress(data, BLOCK)
            except zlib.error as bad:
                raise NotWhatWasPacked("they cannot be inflated") from bad
            if len(piece) > most:
                raise NotWhatWasPacked("they hold more than was asked for")
            if self._stream.eof:
                raise NotWhatWasPacked("they end a stream that has no end")
            most -= len(piece)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if not data:  # the last bytes of a part give none: what came before them is out by then
                return


def most_packed(length: int) -> int:
    """Bytes that deflate makes of so many at most: stored blocks of 16 KiB cost 5 bytes each, and a flush some more."""
    return length + (length >> 10) + 64
