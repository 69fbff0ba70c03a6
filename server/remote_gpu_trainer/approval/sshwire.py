"""The SSH wire format, as far as signatures need it: length-prefixed strings, read to the last byte."""

import struct


class Malformed(ValueError):
    """Bytes that are not what they should be."""


class Reader:
    """Takes fields off the front of some bytes."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def take(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            Malformed: there are fewer.
        """
        if len(self._left) < count:
            raise Malformed(f"it ends {count - len(self._left)} byte(s) early")
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def number(self) -> int:
        """An unsigned 32-bit number."""
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        """A string with its length before it."""
        return self.take(self.number())

    def text(self) -> str:
        """A string that is ASCII.

        Raises:
            Malformed: it is not.
        """
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError as problem:
            raise Malformed("a name in it is not ASCII") from problem

    def end(self) -> None:
        """See that nothing is left.

        Raises:
            Malformed: something is.
        """
        if self._left:
            raise Malformed(f"{len(self._left)} byte(s) follow where it should end")


def string(content: bytes) -> bytes:
    """A string with its length before it."""
    return struct.pack(">I", len(content)) + content
