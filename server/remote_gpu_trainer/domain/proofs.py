"""How far files are proven, packed: a million objects take two gigabytes, a million rows some eighty megabytes."""

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum, StrEnum
from typing import Any, cast, overload

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from remote_gpu_trainer.domain.entries import Entries, EntryKind
from remote_gpu_trainer.domain.values import Value

BLOCK = 1 << 20
MOST_KNOWN = 4096
_LEVEL, _BROKEN = 15, 128


class VerificationLevel(IntEnum):
    """How far a file is proven, each level holding the ones below it."""

    PRESENT = 1
    SIZE = 2
    DIGEST = 3
    LOADS = 4
    MEETS_EXPECTATIONS = 5


class Severity(StrEnum):
    """How much a finding in an artifact weighs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class ArtifactFinding(Value):
    """One thing that a loader saw in a file."""

    code: str
    """For example ``truncated``, ``all-zero-tensor``, ``nan``, ``unsafe-pickle``, ``no-loader``."""
    severity: Severity
    message: str


class FileProof(Value):
    """One local file and the level it reached."""

    path: str
    """Relative to the copy's destination."""
    size: int
    sha256: str
    level: VerificationLevel
    format: str | None
    """Loader that was used, for example ``safetensors``; None when nothing could load it."""
    mtime_ns: int
    """Of the local file when it was hashed."""
    findings: tuple[ArtifactFinding, ...] = ()
    facts: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """For example tensors, parameters, dtypes, step."""


class Texts:
    """Bytes by number, in blocks of 1 MiB; what is said of many is kept once."""

    def __init__(self) -> None:
        self._blocks: list[bytearray] = []
        self._places = array("Q")
        """By number: block, offset and length."""
        self._known: dict[bytes, int] = {}

    def add(self, text: bytes) -> int:
        """Keep one; its number."""
        if (known := self._known.get(text)) is not None:
            return known
        if not self._blocks or len(self._blocks[-1]) >= BLOCK:
            self._blocks.append(bytearray())
        block, number = self._blocks[-1], len(self._places)
        self._places.extend((len(self._blocks) - 1 << 32 | len(block), len(text)))
        block += text
        if len(self._known) < MOST_KNOWN:
            self._known[text] = number
        return number

    def get(self, number: int) -> bytes:
        """The one of that number."""
        place, length = self._places[number], self._places[number + 1]
        at = place & 0xFFFFFFFF
        return bytes(self._blocks[place >> 32][at : at + length])


class Proofs(Sequence[FileProof]):
    """A sequence of proofs that makes each when it is asked for.

    Args:
        promised: Files that are to be proven, of which size, time and hash will mostly be as they are there. Then each
            is ``put`` at its place; otherwise they are appended.
    """

    __slots__ = ("_files", "_marks", "_order", "_other", "_rest", "_texts")

    def __init__(self, promised: Entries | None = None) -> None:
        self._files = Entries() if promised is None else promised
        self._marks = bytearray(len(self._files))
        """The level, and whether a finding is an error; 0 where nothing was put."""
        self._rest = array("I", bytes(4 * len(self._files)))
        """Number of the text that holds format, findings and facts."""
        self._other: dict[int, tuple[int, int, str]] = {}
        """Size, time and hash of files that are not as they were promised."""
        self._texts = Texts()
        self._order: array[int] | None = None

    @classmethod
    def of(cls, proofs: Iterable[FileProof]) -> "Proofs":
        """These, in their order."""
        if isinstance(proofs, Proofs):
            return proofs
        made = cls()
        for proof in proofs:
            made.append(proof)
        return made

    def put(self, index: int, proof: FileProof) -> None:
        """Say what a promised file turned out to be."""
        file = self._files[index]
        if (file.size, file.mtime_ns, file.sha256) != (proof.size, proof.mtime_ns, proof.sha256):
            self._other[index] = proof.size, proof.mtime_ns, proof.sha256
        self._set(index, proof)

    def was_put(self, index: int) -> bool:
        """Whether anything was said of a promised file."""
        return bool(self._marks[index])

    def append(self, proof: FileProof) -> None:
        """Add one.

        Raises:
            ValueError: its hash is no sha256, or these proofs are an order of others.
        """
        if self._order is not None:
            raise ValueError("an order of proofs takes no more of them")
        self._files.append(proof.path, EntryKind.FILE, proof.size, proof.mtime_ns, sha256=proof.sha256)
        self._marks.append(0)
        self._rest.append(0)
        self._set(len(self._marks) - 1, proof)

    def replace(self, index: int, proof: FileProof) -> None:
        """Say something else of a file's level, format, findings and facts; what is said of its bytes stays."""
        self._set(self._row(index), proof)

    def raise_to(self, index: int, level: VerificationLevel) -> None:
        """Say another level of a file, and nothing else."""
        row = self._row(index)
        self._marks[row] = self._marks[row] & ~_LEVEL | level

    def in_order(self, rows: "array[int]") -> "Proofs":
        """Those that were added at these places, in this order. They share what is known."""
        made = Proofs()
        made._files, made._marks, made._rest, made._texts = self._files, self._marks, self._rest, self._texts
        made._other, made._order = self._other, rows
        return made

    def path(self, index: int) -> str:
        """The path of one."""
        return self._files.path(self._row(index))

    def mtime_ns(self, index: int) -> int:
        """The time of one."""
        row = self._row(index)
        other = self._other.get(row)
        return self._files.mtime_ns(row) if other is None else other[1]

    def level(self, index: int) -> VerificationLevel:
        """The level of one."""
        return VerificationLevel(self._marks[self._row(index)] & _LEVEL)

    def is_broken(self, index: int) -> bool:
        """Whether a finding of one is an error."""
        return bool(self._marks[self._row(index)] & _BROKEN)

    def lowest(self) -> VerificationLevel | None:
        """The least level of all; None when there is none."""
        least = min((self._marks[self._row(at)] & _LEVEL for at in range(len(self))), default=None)
        return None if least is None else VerificationLevel(least)

    def broken(self) -> Iterator[FileProof]:
        """Those of which a finding is an error."""
        return (self[at] for at in range(len(self)) if self.is_broken(at))

    def __len__(self) -> int:
        return len(self._marks) if self._order is None else len(self._order)

    def __iter__(self) -> Iterator[FileProof]:
        return map(self._proof, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> FileProof: ...
    @overload
    def __getitem__(self, index: slice) -> "list[FileProof]": ...
    def __getitem__(self, index: int | slice) -> "FileProof | list[FileProof]":
        places = range(len(self))[index]
        return self._proof(places) if isinstance(places, int) else [self._proof(place) for place in places]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Proofs | tuple | list):
            return NotImplemented
        them = cast(Sequence[object], other)
        return len(self) == len(them) and all(one == two for one, two in zip(self, them, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(self.path, range(len(self)))))

    def __repr__(self) -> str:
        return f"Proofs({len(self)})"

    def _row(self, index: int) -> int:
        return index if self._order is None else self._order[index]

    def _set(self, row: int, proof: FileProof) -> None:
        broken = any(finding.severity is Severity.ERROR for finding in proof.findings)
        self._marks[row] = proof.level | (broken and _BROKEN)
        findings = [[finding.code, finding.severity.value, finding.message] for finding in proof.findings]
        self._rest[row] = self._texts.add(json.dumps([proof.format, findings, proof.facts]).encode("ascii"))

    def _proof(self, index: int) -> FileProof:
        row = self._row(index)
        kind, findings, facts = cast(list[Any], json.loads(self._texts.get(self._rest[row])))
        file = self._files[row]
        size, mtime_ns, sha256 = self._other.get(row) or (file.size, file.mtime_ns, file.sha256 or "")
        return FileProof(
            path=file.path,
            size=size,
            sha256=sha256,
            level=VerificationLevel(self._marks[row] & _LEVEL),
            format=kind,
            mtime_ns=mtime_ns,
            findings=tuple(
                ArtifactFinding(code=code, severity=Severity(severity), message=message)
                for code, severity, message in findings
            ),
            facts=facts,
        )


class PackedProofs:
    """Marks a field of proofs that are kept packed, whatever sequence it is given."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        given = core_schema.tuple_variable_schema(handler.generate_schema(FileProof))
        made = core_schema.no_info_after_validator_function(Proofs.of, given)
        packed = core_schema.union_schema([core_schema.is_instance_schema(Proofs), made], mode="left_to_right")
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=packed,
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )


def _dumped(proofs: Proofs, info: Any) -> list[dict[str, Any]]:
    return [proof.model_dump(mode=info.mode) for proof in proofs]
