"""What is packed by gzip, bzip2, xz or zstd: read to the end and never written, with limits against bombs."""

import contextlib
import importlib
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Protocol

from remote_gpu_trainer.verify import confine
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

RATIO_MOST = 200
"""Unpacked bytes per packed byte, judged beyond UNPACKED_FREE; text of logs stays below 100."""
UNPACKED_FREE = 64 << 20
UNPACKED_MOST = 1 << 40
ZSTD_WINDOW = 128 << 20
"""Bytes that a zstd stream may ask the reader to keep; ``zstd --long`` asks for that many."""
ZSTD_PIECE = 2 << 10
"""Packed bytes at a time: four of them may stand for 128 KiB, so these for 64 MiB."""
PIECE = 1 << 20
PACKING_ERRORS: set[type[Exception]] = set()
"""What the packings beyond zlib raise; none before their modules are imported."""
UNPACKING = (zlib.error, EOFError, OSError)


class Readable(Protocol):
    """All that is asked of a stream."""

    def read(self, size: int = ..., /) -> bytes:
        """At most that many bytes, none at the end."""
        ...


class Unpacked:
    """Bytes that came out against bytes that lie in the file."""

    def __init__(self, packed: int) -> None:
        self.packed = packed
        self.bytes = 0

    def add(self, count: int) -> None:
        """Count, and stop at a bomb."""
        self.bytes += count
        if self.bytes > UNPACKED_MOST or self.bytes > UNPACKED_FREE + RATIO_MOST * self.packed:
            raise BrokenArtifact("bomb", f"{self.packed} bytes unpack to more than {self.bytes}")


def pieces(stream: Readable, packed: int) -> Iterator[bytes]:
    """What is left of a stream, bounded.

    Raises:
        BrokenArtifact: ``bomb``, or ``corrupt`` where the packing does not hold.
    """
    unpacked = Unpacked(packed)
    try:
        while data := stream.read(PIECE):
            unpacked.add(len(data))
            yield data
    except (*UNPACKING, zipfile.BadZipFile, NotImplementedError, RuntimeError, *PACKING_ERRORS) as error:
        raise BrokenArtifact("corrupt", f"it cannot be unpacked: {str(error)[:120]}") from error


def unsafe_name(name: str) -> bool:
    """Whether a member's name would leave a folder or deceive a reader."""
    plain = name.replace("\\", "/")
    if not name or plain.startswith("/") or (len(plain) > 1 and plain[1] == ":"):
        return True
    return ".." in plain.split("/") or any(unicodedata.category(letter) in {"Cc", "Cf"} for letter in name)


def load_packed(source: Source, name: str) -> Outcome:
    """Read a packed stream to its end, with its checksum. ``name`` is one of ``gzip``, ``bz2``, ``xz``, ``zstd``."""
    with source.stream() as stream, opened(name, stream) as unpacked:
        if unpacked is None:
            return no_loader(name)
        outcome = Outcome()
        total = sum(len(piece) for piece in pieces(unpacked, source.size))
        outcome.facts["unpacked_bytes"] = total
        if not total:
            outcome.warn("empty", "nothing is packed in it")
    return outcome


def load_gzip(source: Source) -> Outcome:
    """Read a gzip stream."""
    return load_packed(source, "gzip")


def load_bz2(source: Source) -> Outcome:
    """Read a bzip2 stream."""
    return load_packed(source, "bz2")


def load_xz(source: Source) -> Outcome:
    """Read an xz stream."""
    return load_packed(source, "xz")


def load_zstd(source: Source) -> Outcome:
    """Read a zstd stream where this Python knows the format (3.14, or the extra ``zstd``)."""
    return load_packed(source, "zstd")


_MODULES = {"gzip": ("gzip",), "bz2": ("bz2",), "xz": ("lzma",), "zstd": ("compression.zstd", "zstandard")}
_READERS = {"gzip": "GzipFile", "bz2": "BZ2File", "lzma": "LZMAFile", "compression.zstd": "ZstdFile"}


def opened(name: str, stream: IO[bytes]) -> Any:
    """A reader of the unpacked bytes; a context that yields None where the packing is not known to this Python."""
    for module in _MODULES[name]:
        with contextlib.suppress(ImportError), confine.importing():
            library: Any = importlib.import_module(module)
            for error in ("LZMAError", "ZstdError"):
                if hasattr(library, error):
                    PACKING_ERRORS.add(getattr(library, error))
            if module == "zstandard":
                return contextlib.nullcontext(_Frames(library.ZstdDecompressor(max_window_size=ZSTD_WINDOW), stream))
            opener: Any = getattr(library, _READERS[module])
            return opener(fileobj=stream) if module == "gzip" else opener(stream)
    return contextlib.nullcontext()


def no_loader(name: str) -> Outcome:
    outcome = Outcome(loaded=False)
    how = "Python 3.14 or the extra 'zstd'" if name == "zstd" else "a Python that was built with it"
    outcome.note("no-loader", f"{name} needs {how}; only its digest was proven")
    return outcome


class _Frames:
    """Unpacks zstd frame by frame; the package's own reader takes a cut frame for a whole one."""

    def __init__(self, library: Any, stream: IO[bytes]) -> None:
        self._library, self._stream = library, stream
        self._frame: Any = None
        self._ready = b""

    def read(self, size: int = -1, /) -> bytes:
        """As of any stream; more than ``size`` is kept for the next call."""
        while not self._ready:
            packed = self._stream.read(ZSTD_PIECE)
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends inside a frame")
                break
            while packed:
                self._frame = self._frame or self._library.decompressobj()
                self._ready += self._frame.decompress(packed)
                packed = self._frame.unused_data if self._frame.eof else b""
                self._frame = None if self._frame.eof else self._frame
        piece = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(piece) :]
        return piece
