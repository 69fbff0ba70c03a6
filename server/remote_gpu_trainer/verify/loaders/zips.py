"""zip: the list of members held against the members' own heads, then every member read to its end with its CRC.

A zip says most things twice. Readers differ in which of the two they believe, so a file in which they are not the same
holds one archive for us and another one for somebody else, and is refused.
Source: PKWARE's APPNOTE 6.3.10, 4.3 and 4.5; the field of Unicode names is Info-ZIP's.
"""

import contextlib
import stat
import struct
import zipfile
from collections.abc import Generator
from typing import IO

from remote_gpu_trainer.verify.loaders.archives import (
    PACKING_ERRORS,
    PIECE,
    UNPACKING,
    Unpacked,
    pieces,
    unsafe_name,
)
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

MEMBERS_MOST = 200_000
_END, _END64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_HEAD = struct.Struct("<4s5H3L2H")
_MEMBER = b"PK\x03\x04"
_DESCRIBED, _ENCRYPTED, _UTF8 = 0x0008, 0x2041, 0x0800
"""Flags: sizes follow the data; encrypted in one of three ways; the name is UTF-8."""
_LARGE, _UNICODE_NAME = 0x0001, 0x7075
_FULL = 0xFFFF_FFFF
with contextlib.suppress(ImportError):  # a Python may be built without
    import lzma

    PACKING_ERRORS.add(lzma.LZMAError)


def open_zip(stream: IO[bytes], size: int) -> zipfile.ZipFile:
    """A zip whose list was judged: its place, names, doubles, overlaps, encryption, claimed sizes, members' heads.

    Raises:
        BrokenArtifact: anything of that.
    """
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise BrokenArtifact("corrupt", f"it is not a whole zip: {str(error)[:120]}") from error
    infos = archive.infolist()
    if not _list_in_place(stream, size, archive):
        raise BrokenArtifact(
            "two-directories", "its end speaks of another list of members than the one that lies before it"
        )
    if len(infos) > MEMBERS_MOST:
        raise BrokenArtifact("too-many-members", f"{len(infos)} members, and {MEMBERS_MOST} are allowed")
    seen: set[str] = set()
    reached = 0
    unpacked = Unpacked(size)
    for info in sorted(infos, key=lambda info: info.header_offset):
        label = repr(info.filename[:80])
        if unsafe_name(info.orig_filename) or unsafe_name(info.filename) or stat.S_ISLNK(info.external_attr >> 16):
            raise BrokenArtifact("unsafe-name", f"the member {label} leads out or is a link")
        if info.filename in seen:
            raise BrokenArtifact("duplicate-member", f"{label} is there twice")
        if info.flag_bits & _ENCRYPTED:
            raise BrokenArtifact("encrypted", f"{label} is encrypted, so nothing can read it")
        if info.header_offset < reached:
            raise BrokenArtifact("overlap", f"{label} overlaps another member")
        unpacked.add(info.file_size)
        seen.add(info.filename)
        if info.header_offset > archive.start_dir:
            raise BrokenArtifact("truncated", f"{label} begins behind the list of members")
        _nothing_between(stream, reached, info.header_offset)
        reached = _behind(stream, info, label)
        if reached > archive.start_dir:
            raise BrokenArtifact("truncated", f"{label} reaches to byte {reached}, behind byte {archive.start_dir}")
    _nothing_between(stream, reached, archive.start_dir)
    return archive


def _list_in_place(stream: IO[bytes], size: int, archive: zipfile.ZipFile) -> bool:
    """Whether the list ends where the end record begins, and is as long, and begins where, that record says.

    Python looks for it before the end record, other readers where the record says. A large zip has two such records,
    and some readers believe the small one.
    """
    end = size - _END.size - len(archive.comment)
    signature, disk, disk_of_list, here, count, length, begin, _ = _END.unpack(_at(stream, end, _END.size))
    locator = _at(stream, end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        record = end - _LOCATOR.size - _END64.size
        body = _at(stream, record, _END64.size) if record >= 0 else b""
        if _LOCATOR.unpack(locator)[2] != record or not body.startswith(b"PK\x06\x06"):
            return False
        *_, disk64, disk_of_list64, here64, count64, length64, begin64 = _END64.unpack(body)
        small, large = (here, count, length, begin), (here64, count64, length64, begin64)
        if any(a not in (b, full) for a, b, full in zip(small, large, (0xFFFF, 0xFFFF, _FULL, _FULL), strict=True)):
            return False
        end, disk, disk_of_list, (here, count, length, begin) = record, disk64, disk_of_list64, large
    same = signature == b"PK\x05\x06" and begin == archive.start_dir and begin + length == end
    return same and disk == disk_of_list == 0 and here == count == len(archive.infolist())


def _behind(stream: IO[bytes], info: zipfile.ZipInfo, label: str) -> int:
    """Where a member ends, with its descriptor, when its own head says what the list says of it."""
    head = _at(stream, info.header_offset, _HEAD.size)
    if len(head) < _HEAD.size or not head.startswith(_MEMBER):
        raise BrokenArtifact("two-headers", f"where {label} is listed no member begins")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _HEAD.unpack(head)
    name, extra = stream.read(name_length), _fields(stream.read(extra_length))
    wide = extra.get(_LARGE, b"")
    large = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
    size, packed = (next(large, value) if value == _FULL else value for value in (size, packed))
    listed = (info.CRC, info.compress_size, info.file_size)
    described = bool(flags & _DESCRIBED)
    same = all(own == told or (described and own == 0) for own, told in zip((crc, packed, size), listed, strict=True))
    encoded = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
    if not same or name != encoded or method != info.compress_type or flags & _ENCRYPTED:
        raise BrokenArtifact("two-headers", f"the head of {label} says something else than the list of members")
    for fields in (extra, _fields(info.extra)):
        if fields.get(_UNICODE_NAME, b"....." + encoded)[5:] not in (encoded, info.orig_filename.encode()):
            raise BrokenArtifact("unsafe-name", f"{label} has another name for some readers")
    end = info.header_offset + _HEAD.size + name_length + extra_length + info.compress_size
    return end + _descriptor(stream, end, listed, label) if described else end


def _descriptor(stream: IO[bytes], at: int, listed: tuple[int, int, int], label: str) -> int:
    """The length of the sizes behind a member's data."""
    found = _at(stream, at, 24)
    for form in ("<3L", "<L2Q"):
        with_mark, bare = b"PK\x07\x08" + _packed(form, listed), _packed(form, listed)
        for told in (with_mark, bare):
            if len(told) > 4 and found.startswith(told):
                return len(told)
    raise BrokenArtifact("two-headers", f"what follows {label} says something else than the list of members")


def _packed(form: str, values: tuple[int, int, int]) -> bytes:
    return struct.pack(form, *values) if form == "<L2Q" or max(values) <= _FULL else b""


def _fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields by number; what is malformed is none."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<2H", extra, at)
        found.setdefault(number, extra[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _nothing_between(stream: IO[bytes], begin: int, end: int) -> None:
    """Padding may lie between members, and no member that a reader from the front would find there."""
    tail = b""
    while begin < end:
        piece = _at(stream, begin, min(PIECE, end - begin))
        if not piece or _MEMBER in tail + piece:
            raise BrokenArtifact("unlisted-member", f"a member lies near byte {begin} that its list does not name")
        begin, tail = begin + len(piece), piece[-3:]


def _at(stream: IO[bytes], offset: int, length: int) -> bytes:
    stream.seek(offset)
    return stream.read(length)


@contextlib.contextmanager
def opened_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Generator[IO[bytes]]:
    """A member to be read.

    Raises:
        BrokenArtifact: ``corrupt``, on opening it or in the block that reads it.
    """
    try:
        with archive.open(info) as member:
            yield member
    except (*UNPACKING, *PACKING_ERRORS, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise BrokenArtifact("corrupt", f"{info.filename[:80]!r} in it: {str(error)[:120]}") from error


def load_zip(source: Source) -> Outcome:
    """Read every member of a zip, with its CRC."""
    outcome = Outcome()
    total = members = 0
    with source.stream() as stream, open_zip(stream, source.size) as archive:
        for info in archive.infolist():
            with opened_member(archive, info) as member:
                total += sum(len(piece) for piece in pieces(member, source.size))
            members += 1
    outcome.facts.update(members=members, unpacked_bytes=total)
    if not members:
        outcome.warn("empty", "it holds no member")
    return outcome
