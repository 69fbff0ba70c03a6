"""Files on both sides: what was seen on the machine, what came home, and how far each is proven."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import rfc8785
from pydantic import Field

from remote_gpu_trainer.domain.entries import Entries, Packed
from remote_gpu_trainer.domain.entries import EntryKind as EntryKind
from remote_gpu_trainer.domain.entries import ManifestEntry as ManifestEntry
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.domain.proofs import ArtifactFinding as ArtifactFinding
from remote_gpu_trainer.domain.proofs import FileProof as FileProof
from remote_gpu_trainer.domain.proofs import PackedProofs, Proofs
from remote_gpu_trainer.domain.proofs import Severity as Severity
from remote_gpu_trainer.domain.proofs import VerificationLevel as VerificationLevel
from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.domain.values import Value


class Manifest(Value):
    """A remote tree at one moment, ordered by path."""

    root: str
    """Absolute POSIX path on the machine."""
    entries: Annotated[Sequence[ManifestEntry], Packed]
    truncated: bool = False
    """The walk ended at a limit: absence of a name means nothing."""

    @property
    def packed(self) -> Entries:
        """The entries, to be asked for one fact of many of them."""
        return Entries.of(self.entries)

    @property
    def files(self) -> Entries:
        """The regular files."""
        return self.packed.only(EntryKind.FILE)

    @property
    def size(self) -> int:
        """Bytes in regular files."""
        return self.files.total()

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of root and entries."""
        end = _row({"root": self.root, "truncated": self.truncated})
        rows = (_row(entry.model_dump(mode="json")) for entry in self.entries)
        return _sha256(itertools.chain([b'{"entries":['], _joined(rows), [b"],", end[1:]]))

    @property
    def fingerprint(self) -> str:
        """sha256 over path, kind, size and mtime only: equal before and after means that nothing moved."""
        seen = self.packed
        rows = (
            _row([seen.path(at), seen.kind(at).value, str(seen.size(at)), str(seen.mtime_ns(at))])
            for at in range(len(seen))
        )
        return _sha256(itertools.chain([b"["], _joined(rows), [b"]"]))


FOREIGN_CLASSES = "foreign-classes"
"""Code of the finding that loading a file would run code of classes that it names; only its bytes are proven then."""


class VerificationReport(Value):
    """What ``verify_local`` found, per file, never averaged."""

    copy_id: CopyId | None
    destination: str
    verified_at: datetime
    files: Annotated[Sequence[FileProof], PackedProofs]
    missing: tuple[str, ...]
    """In the manifest or the expectations and not on the disk."""
    unmet: tuple[str, ...]
    """Expectations that do not hold, one sentence each."""

    @property
    def packed(self) -> Proofs:
        """The files, to be asked for one fact of many of them."""
        return Proofs.of(self.files)

    @property
    def lowest_level(self) -> VerificationLevel | None:
        """The least level over all files; None when something is missing or there is nothing."""
        return None if self.missing else self.packed.lowest()

    @property
    def errors(self) -> tuple[str, ...]:
        """Findings of weight error, as ``path: message``."""
        return tuple(
            f"{proof.path}: {finding.message}"
            for proof in self.packed.broken()
            for finding in proof.findings
            if finding.severity is Severity.ERROR
        )

    @property
    def passed(self) -> bool:
        """Whether this report may support a teardown: all present, digests right, nothing broken or unmet."""
        lowest = self.lowest_level
        broken = next(self.packed.broken(), None) is not None
        return lowest is not None and lowest >= VerificationLevel.DIGEST and not broken and not self.unmet


class Expectations(Value):
    """What results must hold, in the words of the person or the model."""

    files: tuple[str, ...] = ()
    """Exact relative paths or globs that must each match at least one file."""
    min_count: int | None = None
    min_step: int | None = None
    finite_metrics: tuple[str, ...] = ()
    """Keys that must be finite in the last line of a metrics file or in a result JSON."""
    keys: tuple[str, ...] = ()
    """Tensor names that a weight file must hold."""
    min_level: VerificationLevel = VerificationLevel.DIGEST
    """For each file that ``files`` or ``counts`` name; for every file where they name none."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Glob to the exact number of files that it must match."""
    exact_roster: bool = False
    """No file may be there that neither ``files`` nor ``counts`` match."""
    metric_bounds: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    """Metric to its least and largest value, both included; None leaves a side open."""
    max_age_hours: float | None = None
    """Of the youngest file that the expectations name, by its local modification time."""
    same_names_as: str | None = None
    """Relative path of a weight file; the other weight files must hold tensors of the same names."""


class Route(StrEnum):
    """How bytes travel."""

    DIRECT_SSH = "direct-ssh"
    PROXY_SSH = "proxy-ssh"
    MACHINE_RSYNC = "machine-rsync"
    BUCKET = "bucket"


class SkippedEntry(Value):
    """Seen on the machine and not copied, with the reason."""

    path: str
    size: int
    reason: str


class BucketObject(Value):
    """One object that was proven to hold a file of a copy."""

    path: str
    """Of the file, relative to the copy's destination; below the bucket's prefix."""
    size: int
    etag: str
    proven_by: Literal["stored-checksum", "read-back"]
    version: str | None = None
    """The store's name of this very version, under which it can be read after another took its place; None where the
    bucket keeps no versions."""


class BucketCopy(Value):
    """The same files once more, in a bucket."""

    url: str
    """``s3://bucket/prefix``."""
    objects: tuple[BucketObject, ...]
    bytes_stored: int
    """Bytes that were sent to the bucket in this call."""
    warnings: tuple[str, ...]
    """How the bucket may lose the objects: rules that delete them, versions that are not kept, what is unknown."""


class BucketRules(Value):
    """What a bucket does with objects later."""

    versioned: bool | None
    """Whether old versions are kept; None when that could not be read."""
    expiring: tuple[str, ...]
    """One sentence for each rule that will delete objects of the copy."""
    caveats: tuple[str, ...] = ()
    """One sentence for each rule that may delete some, deletes their old versions, or puts them out of reach."""
    unread: tuple[str, ...]
    """What could not be read: unknown is not nothing."""


class CopyReceipt(Value):
    """What one finished ``copy_out`` did."""

    copy_id: CopyId
    lease: LeaseId
    instance_id: InstanceId
    roots: tuple[str, ...]
    """Absolute remote paths that were asked for."""
    destination: str
    """Local folder, absolute."""
    route: Route
    route_reason: str
    manifest: Manifest
    """What was copied, with sha256 of the bytes that arrived. The paths are relative to the destination."""
    skipped: tuple[SkippedEntry, ...]
    """Inside the roots and not copied, largest first."""
    not_copied: tuple[SkippedEntry, ...]
    """On the data disk outside the roots, largest first."""
    bytes_transferred: int
    """Bytes that crossed the network in this call; less than the total after a resume or when compressed."""
    bytes_saved: int = 0
    """By how much more the files have of what came in this call: compression kept it off the network."""
    started_at: datetime
    finished_at: datetime
    cost: Usd | None
    """By the host's egress price; None when the offer names none."""
    estimated_cost: Usd | None = None
    """What the bytes that were missing at the beginning were expected to cost."""
    compared: int | None = None
    """Files that rsync's md5 of the whole file found the same on both sides; None on other routes."""
    bucket: BucketCopy | None = None
    """What was also brought into a bucket; the proof of the copy stays with the local files."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.finished_at - self.started_at).total_seconds()


FingerprintMoment = Literal["before-copy", "after-copy", "before-stop", "before-consent", "last-look"]


class Fingerprint(Value):
    """The far side at one moment of the road home."""

    moment: FingerprintMoment
    at: datetime
    digest: str
    files: int
    bytes: int
    by: Route = Route.DIRECT_SSH
    """How it was read: over SSH by size and nanosecond, over the machine's rsync by size and second. Plans of earlier
    versions knew only the first."""
    compared: int | None = None
    """Files of the copy that rsync's md5 of the whole file found the same on both sides; None where none was taken."""


def digest_of(value: object) -> str:
    """sha256, lower-case hex, over the canonical JSON (RFC 8785) of a JSON-like value.

    Integers beyond 2^53 become strings first, since RFC 8785 has no place for them.

    Raises:
        TypeError: something in the value is not JSON.
    """
    return _sha256([rfc8785.dumps(cast(Any, _canonical(value)))])


_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode


def _row(value: object) -> bytes:
    """As rfc8785 writes it, ten times as fast; only for texts, whole numbers, truths and lists and objects of them."""
    return _plain(_canonical(value)).encode()


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _joined(rows: Iterable[bytes]) -> Iterator[bytes]:
    """The elements of a list of JSON; a list of a million is never held as one."""
    between = b""
    for row in rows:
        yield between + row
        between = b","


def _canonical(value: object) -> object:
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in cast(list[object], value)]
    raise TypeError(f"{type(value).__name__} has no canonical JSON")
