"""Zips of an attacker who has read our reader: one archive for it, and another one for somebody else."""

import io
import struct
import zipfile
import zlib

import numpy as np

from tests.hostile.artifacts.makers import Artifact, checkpoint, zipped


def artifacts() -> list[Artifact]:
    """Zips that are one archive for a reader of the directory and another one for others."""
    one, two = zipped({"aa": b"xyz"}), zipped({"aa": b"xyz", "bb": b"xyz"})
    head, listed, end = one.index(b"PK\x03\x04"), one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    last = two.index(b"PK\x05\x06")
    differ = {"two-headers"}

    def bent(at: int, data: bytes, whole: bytes = one) -> bytes:
        return whole[:at] + data + whole[at + len(data) :]

    def patched(*places: tuple[int, bytes]) -> bytes:
        whole = one
        for at, data in places:
            whole = bent(at, data, whole)
        return whole

    return [
        ("one-name.zip", two.replace(b"bb", b"aa"), {"duplicate-member"}),
        ("local-name.zip", bent(head + 30, b"zz"), differ),
        ("local-method.zip", bent(head + 8, b"\x08\0"), differ),
        ("local-size.zip", bent(head + 22, struct.pack("<L", 2)), differ),
        ("local-packed-size.zip", bent(head + 18, struct.pack("<L", 2**31)), differ),
        ("local-crc.zip", bent(head + 14, bytes(4)), differ),
        ("local-encrypted.zip", bent(head + 6, b"\1\0"), differ | {"encrypted"}),
        ("encrypted.zip", patched((head + 6, b"\1\0"), (listed + 8, b"\1\0")), {"encrypted"}),
        ("masked.zip", patched((head + 6, b"\0\x20"), (listed + 8, b"\0\x20")), {"encrypted"}),
        ("described.zip", patched((head + 6, b"\x08\0"), (listed + 8, b"\x08\0"), (head + 22, b"\x09")), differ),
        ("no-local.zip", bent(head, b"PK\x07\x08"), differ | {"corrupt"}),
        ("count.zip", bent(last + 8, b"\1\0\1\0", two), {"two-directories"}),
        ("disks.zip", bent(end + 4, b"\1\0\1\0"), {"two-directories", "corrupt"}),
        ("second-name.zip", second_name("../evil"), {"unsafe-name"}),
        ("nul.zip", zipped({"aaX../../evil": b"x"}).replace(b"aaX", b"aa\0"), {"unsafe-name"}),
        ("far-away.zip", bent(listed + 42, b"\xff\xff\xff\x7f"), {"truncated"}),
        ("descriptor.zip", piped().replace(b"PK\x07\x08", b"PK\x07\x09", 1), differ),
        ("descriptor-crc.zip", crc_behind(piped()), differ),
        ("two-ends.zip", two_ends(one), {"two-directories"}),
        ("claims.zip", zip64_claim(), {"bomb", "two-headers"}),
        ("behind.zip", hidden_member(), {"unlisted-member"}),
        ("behind.pt", hidden_member(checkpoint(b"N.")), {"unlisted-member"}),
        ("locals.npz", zipped({"a.npy": npy_of()}).replace(b"a.npy", b"b.npy", 1), differ),
    ]


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def piped() -> bytes:
    """A zip as it is written to a pipe: sizes and CRC follow the data."""
    out = _Pipe()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "xyz")
    return out.getvalue()


def crc_behind(whole: bytes) -> bytes:
    """The same with another CRC behind the data than in the list."""
    at = whole.index(b"PK\x07\x08") + 4
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def two_ends(whole: bytes) -> bytes:
    """A zip whose record of a large zip is right, and whose small one sends older readers elsewhere."""
    at = whole.rindex(b"PK\x05\x06")
    length, begin = struct.unpack("<2L", whole[at + 12 : at + 20])
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, length, begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return whole[:at] + record + locator + whole[at : at + 16] + struct.pack("<L", begin - 1) + whole[at + 20 :]


def npy_of() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones(3))
    return out.getvalue()


def second_name(name: str) -> bytes:
    """A zip whose member has another name for readers of Info-ZIP's field of Unicode names."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a")
        data = b"\x01" + struct.pack("<L", zlib.crc32(b"a")) + name.encode()
        info.extra = struct.pack("<HH", 0x7075, len(data)) + data
        archive.writestr(info, "x")
    return out.getvalue()


def zip64_claim() -> bytes:
    """A zip that claims to unpack to an exbibyte."""
    one = zipped({"a": b"x"})
    listed, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    extra = struct.pack("<HHQ", 1, 8, 2**60)
    directory = bytearray(one[listed:end])
    directory[24:28], directory[30:32] = b"\xff" * 4, struct.pack("<H", len(extra))
    tail = bytearray(one[end:])
    tail[12:16] = struct.pack("<L", len(directory) + len(extra))
    return one[:listed] + bytes(directory) + extra + bytes(tail)


def hidden_member(whole: bytes | None = None) -> bytes:
    """A zip with a member before the listed ones that only a reader from the front finds."""
    whole = whole or zipped({"good": b"x"})
    evil = zipped({"evil.py": b"import os"})
    evil = evil[: evil.index(b"PK\x01\x02")]
    end = whole.index(b"PK\x05\x06")
    listed = whole.index(b"PK\x01\x02")
    directory = bytearray(whole[listed:end])
    at = 0
    while at < len(directory):
        name, extra, comment = struct.unpack("<3H", directory[at + 28 : at + 34])
        place = struct.unpack("<L", directory[at + 42 : at + 46])[0] + len(evil)
        directory[at + 42 : at + 46] = struct.pack("<L", place)
        at += 46 + name + extra + comment
    tail = bytearray(whole[end:])
    tail[16:20] = struct.pack("<L", listed + len(evil))
    return evil + whole[:listed] + bytes(directory) + bytes(tail)
