"""tar, plain or packed: every member read to its end and never written, judged by our own rules."""

import posixpath
import tarfile
import unicodedata
from typing import Any

from remote_gpu_trainer.verify.loaders.archives import (
    PACKING_ERRORS,
    PIECE,
    UNPACKING,
    Readable,
    Unpacked,
    no_loader,
    opened,
    unsafe_name,
)
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

MEMBERS_MOST = 200_000
LINKS_MOST = 1000


def load_tar(source: Source) -> Outcome:
    """Walk a plain tar."""
    with source.stream() as stream:
        return _tar(stream)


def load_targz(source: Source) -> Outcome:
    """Walk a gzipped tar."""
    return load_packed_tar(source, "gzip")


def load_tarbz2(source: Source) -> Outcome:
    """Walk a bzipped tar."""
    return load_packed_tar(source, "bz2")


def load_tarxz(source: Source) -> Outcome:
    """Walk a tar packed with xz."""
    return load_packed_tar(source, "xz")


def load_tarzst(source: Source) -> Outcome:
    """Walk a tar packed with zstd."""
    return load_packed_tar(source, "zstd")


def load_packed_tar(source: Source, name: str) -> Outcome:
    """Walk a packed tar."""
    with source.stream() as stream, opened(name, stream) as unpacked:
        return no_loader(name) if unpacked is None else _tar(_Counted(unpacked, source.size))


class _Counted:
    """A stream whose output is bounded against its input."""

    def __init__(self, stream: Readable, packed: int) -> None:
        self._stream = stream
        self._unpacked = Unpacked(packed)

    def read(self, size: int = -1, /) -> bytes:
        """As of any stream."""
        data = self._stream.read(min(size, PIECE) if size >= 0 else PIECE)
        self._unpacked.add(len(data))
        return data


def _leads_out(member: tarfile.TarInfo, links: set[str]) -> bool:
    """Whether unpacking a member could touch something outside; a link that stays inside is added to ``links``.

    A link may point to a neighbour or further down only, and nothing may take its place or be reached through it: a
    way up, even one that stays inside by its text, can lead out through another link.
    """
    name = unicodedata.normalize("NFC", posixpath.normpath(member.name).casefold())  # macOS tells no forms apart
    parts = name.split("/")
    ways = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    if unsafe_name(member.name) or member.issparse() or any(way in links for way in ways):
        return True
    if member.issym() or member.islnk():
        links.add(name)
        return unsafe_name(member.linkname) or len(links) > LINKS_MOST
    return not (member.isreg() or member.isdir())


def _tar(stream: Readable) -> Outcome:
    outcome = Outcome()
    links: set[str] = set()
    members = total = 0
    file: Any = stream
    try:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                members += 1
                if members > MEMBERS_MOST:
                    raise BrokenArtifact("too-many-members", f"more than {MEMBERS_MOST} members")
                if _leads_out(member, links):
                    raise BrokenArtifact(
                        "unsafe-name", f"{member.name[:80]!r} leads out or through a link, or is a device or sparse"
                    )
                body = archive.extractfile(member) if member.isreg() else None
                if body is not None:
                    got = sum(len(piece) for piece in iter(lambda body=body: body.read(PIECE), b""))
                    total += got
                    if got != member.size:
                        raise BrokenArtifact("truncated", f"{member.name[:80]!r} holds {got} of {member.size} bytes")
        while stream.read(PIECE):  # tar ends at its end mark; what is packed behind it counts, and so does the CRC
            pass
    except (*UNPACKING, *PACKING_ERRORS, tarfile.TarError, ValueError, RecursionError) as error:
        raise BrokenArtifact("corrupt", f"it is not a whole tar: {str(error)[:120]}") from error
    outcome.facts.update(members=members, unpacked_bytes=total)
    if not members:
        outcome.warn("empty", "it holds no member")
    if links:
        outcome.note("links", f"{len(links)} of its members are links to others in it")
    return outcome
