"""Bringing files into a bucket and proving that they are there."""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.domain.artifacts import BucketObject
from remote_gpu_trainer.domain.uploads import FileDigests
from remote_gpu_trainer.errors import DigestMismatch, InvalidRequest, TransferError
from remote_gpu_trainer.storage import BucketUrl, S3Store
from tests.bucket import BUCKET, Faults
from tests.unit.database.builders import receipt_of
from tests.unit.storage.conftest import buckets

pytestmark = pytest.mark.anyio
Opened = Callable[[bytes], int]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(content: bytes) -> FileDigests:
    """Of a file that goes in one piece."""
    return FileDigests(size=len(content), sha256=digest(content), part_bytes=None)


def weighed_in_parts(content: bytes, each: int) -> FileDigests:
    """Of a file that goes in parts."""
    parts = tuple(digest(content[at : at + each]) for at in range(0, len(content), each))
    return FileDigests(size=len(content), sha256=digest(content), part_bytes=each, parts=parts)


def store(text: str = f"s3://{BUCKET}/run-1") -> S3Store:
    return S3Store(BucketUrl.parse(text))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Content as an open file."""
    made: list[int] = []

    def open_file(content: bytes) -> int:
        place = tmp_path / str(len(made))
        place.write_bytes(content)
        made.append(os.open(place, os.O_RDONLY))
        return made[-1]

    yield open_file
    for fd in made:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 5])
async def test_what_is_put_is_proven_by_the_checksum_that_the_store_keeps(s3: Any, opened: Opened, size: int) -> None:
    content = random.Random(size).randbytes(size)
    file = opened(content)
    assert await store().proof("out/model", digests(content)) is None
    await store().put("out/model", file, digest(content))
    found = await store().proof("out/model", digests(content))
    assert found is not None
    assert (found.size, found.proven_by) == (size, "stored-checksum")
    assert s3.get_object(Bucket=BUCKET, Key="run-1/out/model")["Body"].read() == content
    assert await store().etags() == {"out/model": (size, found.etag)}


async def test_an_object_without_checksum_is_read_back(s3: Any, opened: Opened) -> None:
    s3.put_object(Bucket=BUCKET, Key="run-1/log", Body=b"content")
    found = await store().proof("log", digests(b"content"))
    assert found is not None
    assert found.proven_by == "read-back"
    assert await store().proof("log", digests(b"CONTENT")) is None


async def test_another_object_of_the_same_size_is_no_proof(s3: Any, opened: Opened) -> None:
    before, after = bytes(9), b"\1" + bytes(8)
    await store().put("f", opened(before), digest(before))
    assert await store().proof("f", digests(after)) is None


async def test_a_file_that_is_not_what_was_copied_replaces_nothing(s3: Any, opened: Opened) -> None:
    s3.put_object(Bucket=BUCKET, Key="run-1/f", Body=b"earlier")
    with pytest.raises(DigestMismatch, match="No object that was there"):
        await store().put("f", opened(bytes(9)), digest(b"something else"))
    assert s3.get_object(Bucket=BUCKET, Key="run-1/f")["Body"].read() == b"earlier"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


async def test_a_store_that_refuses_ends_in_an_error_that_says_what_to_check(s3: Any, opened: Opened) -> None:
    with pytest.raises(TransferError, match=r"NoSuchBucket.*AWS_"):
        await store("s3://not-there/run").put("f", opened(b"x"), digest(b"x"))


def rule(name: str, prefix: str = "", **more: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 3}, **more}


def ruled(s3: Any, *rules: dict[str, Any]) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": list(rules)})


OBJECTS = (
    BucketObject(path="out/model", size=3 << 20, etag="a", proven_by="stored-checksum"),
    BucketObject(path="log", size=1000, etag="b", proven_by="stored-checksum"),
)


def names(said: Iterable[str]) -> list[str]:
    """The rules that are spoken of."""
    return [one.split("'")[1] for one in said]


async def test_a_bucket_that_will_delete_the_copy_is_named(s3: Any) -> None:
    ruled(
        s3,
        rule("all"),
        rule("ours", "run-1/"),
        rule("part of ours", "run-1/out/"),
        rule("one of ours", "run-1/lo"),
        rule("nothing of ours", "run-1/in/"),
        rule("others", "run-2/"),
        rule("off", Status="Disabled"),
        {"ID": "old way", "Status": "Enabled", "Prefix": "run-1/", "Expiration": {"Days": 3}},
        rule("on a day", Expiration={"Date": "2030-01-01T00:00:00Z"}),
    )
    rules = await store().rules(OBJECTS)
    assert names(rules.expiring) == ["all", "ours", "part of ours", "one of ours", "old way", "on a day"]
    assert "3 days after they were stored" in rules.expiring[0]
    assert "on 2030-01-01" in rules.expiring[-1]
    assert (rules.versioned, rules.caveats) == (False, ())


@pytest.mark.parametrize(
    ("sizes", "touched"),
    [
        ({"ObjectSizeGreaterThan": 3 << 20}, False),
        ({"ObjectSizeGreaterThan": (3 << 20) - 1}, True),
        ({"ObjectSizeLessThan": 1000}, False),
        ({"ObjectSizeLessThan": 1001}, True),
        ({"ObjectSizeGreaterThan": 1000, "ObjectSizeLessThan": 3 << 20}, False),
    ],
)
async def test_a_rule_for_sizes_that_no_object_has_is_not_named(
    faults: Faults, sizes: dict[str, int], touched: bool
) -> None:
    bounds = "".join(f"<{name}>{size}</{name}>" for name, size in sizes.items())
    faults.lifecycle = (
        f"<Rule><ID>sized</ID><Status>Enabled</Status><Filter><And><Prefix>run-1/</Prefix>{bounds}</And></Filter>"
        "<Expiration><Days>3</Days></Expiration></Rule>"
    )
    rules = await store().rules(OBJECTS)
    assert names(rules.expiring) == (["sized"] if touched else [])


async def test_what_may_take_objects_away_or_out_of_reach_is_named_as_a_doubt(s3: Any) -> None:
    tag, other = {"Key": "keep", "Value": "no"}, {"Key": "b", "Value": "c"}
    ruled(
        s3,
        rule("tagged", Filter={"Tag": tag}),
        rule("tagged twice", Filter={"And": {"Prefix": "run-1/", "Tags": [tag, other]}}),
        rule("old", NoncurrentVersionExpiration={"NoncurrentDays": 9}, Expiration={}),
        rule("cold", Transitions=[{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}], Expiration={}),
        rule("cool", Transitions=[{"Days": 1, "StorageClass": "STANDARD_IA"}], Expiration={}),
        rule("others", "run-2/", NoncurrentVersionExpiration={"NoncurrentDays": 9}),
    )
    rules = await store().rules(OBJECTS)
    assert rules.expiring == ()
    assert names(rules.caveats) == ["tagged", "tagged twice", "old", "cold"]
    assert "if they are tagged 'keep=no'" in rules.caveats[0]
    assert "deletes old versions under '' 9 days after they were replaced" in rules.caveats[2]
    assert "DEEP_ARCHIVE 1 days after they were stored: then nothing can be read" in rules.caveats[3]


async def test_how_many_old_versions_a_rule_spares_is_told(faults: Faults) -> None:
    faults.lifecycle = (
        "<Rule><ID>old</ID><Status>Enabled</Status><Filter/><NoncurrentVersionExpiration><NoncurrentDays>9"
        "</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>"
    )
    (said,) = (await store().rules(OBJECTS)).caveats
    assert said.endswith("9 days after they were replaced, but for the newest 2")


@pytest.mark.parametrize(("status", "versioned"), [(None, False), ("Suspended", False), ("Enabled", True)])
async def test_only_a_bucket_that_keeps_versions_now_is_said_to(s3: Any, status: str | None, versioned: bool) -> None:
    if status is not None:
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": status})
    assert (await store().rules(OBJECTS)).versioned is versioned


@pytest.mark.parametrize("kind", ["CRC32", "SHA1"])
async def test_a_checksum_of_another_kind_is_no_proof_and_the_object_is_read(s3: Any, kind: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="run-1/log", Body=b"content", ChecksumAlgorithm=kind)
    found = await store().proof("log", digests(b"content"))
    assert found is not None
    assert found.proven_by == "read-back"
    assert await store().proof("log", digests(b"CONTENT")) is None


async def test_a_large_object_that_was_put_whole_is_proven_by_the_checksum_of_the_whole(
    s3: Any, faults: Faults, opened: Opened
) -> None:
    content = random.Random(1).randbytes(17 << 20)
    s3.put_object(Bucket=BUCKET, Key="run-1/f", Body=content, ChecksumAlgorithm="SHA256")
    weighed = weighed_in_parts(content, 16 << 20)
    found = await store().proof("f", weighed)
    assert found is not None
    assert (found.proven_by, faults.read) == ("stored-checksum", 0)
    assert await store().proof("f", weighed_in_parts(bytes(17 << 20), 16 << 20)) is None


async def test_the_hash_of_other_parts_says_nothing_and_the_object_is_read(
    s3: Any, faults: Faults, opened: Opened
) -> None:
    content = random.Random(1).randbytes(17 << 20)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="run-1/f", ChecksumAlgorithm="SHA256")["UploadId"]
    target = {"Bucket": BUCKET, "Key": "run-1/f", "UploadId": upload}
    parts = [
        {"PartNumber": at + 1, "ETag": s3.upload_part(**target, PartNumber=at + 1, Body=part)["ETag"]}
        for at, part in enumerate((content[: 6 << 20], content[6 << 20 :]))
    ]
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
    found = await store().proof("f", weighed_in_parts(content, 16 << 20))
    assert found is not None
    assert (found.proven_by, faults.read) == ("read-back", len(content))


async def test_an_object_under_a_key_of_the_store_is_pinned_by_an_etag_that_is_no_hash(s3: Any, opened: Opened) -> None:
    s3.put_bucket_encryption(
        Bucket=BUCKET,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]
        },
    )
    await store().put("f", opened(b"content"), digest(b"content"))
    found = await store().proof("f", digests(b"content"))
    assert found is not None
    assert found.proven_by == "stored-checksum"
    assert (await store().etags())["f"] == (7, found.etag)


async def test_what_was_deleted_in_a_bucket_that_keeps_versions_is_not_there_any_more(s3: Any, opened: Opened) -> None:
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    await store().put("f", opened(b"content"), digest(b"content"))
    found = await store().proof("f", digests(b"content"))
    assert found is not None
    s3.delete_object(Bucket=BUCKET, Key="run-1/f")
    assert await store().proof("f", digests(b"content")) is None
    assert await store().etags() == {}


async def test_a_bucket_that_locks_objects_takes_them_in_one_piece_and_in_parts(
    s3: Any, faults: Faults, opened: Opened, tmp_path: Path
) -> None:
    locked = "locked-results"
    s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(
        Bucket=locked,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "large").write_bytes(random.Random(1).randbytes(6 << 20))
    (tmp_path / "copy" / "small").write_bytes(b"small")
    copy = (await buckets(tmp_path).store(receipt_of(tmp_path / "copy"), f"s3://{locked}/run-1", None)).bucket
    assert copy is not None
    assert [one.proven_by for one in copy.objects] == ["stored-checksum"] * 2
    assert all(one.version for one in copy.objects)
    assert copy.warnings == ()
    for one in copy.objects:
        s3.delete_object(Bucket=locked, Key=f"run-1/{one.path}", VersionId=one.version, BypassGovernanceRetention=True)
    s3.delete_bucket(Bucket=locked)


async def test_rules_that_cannot_be_read_are_unknown_and_not_absent(s3: Any) -> None:
    rules = await store("s3://not-there/run").rules(OBJECTS)
    assert rules.versioned is None
    assert rules.expiring == ()
    assert [said.split(" could")[0] for said in rules.unread] == ["versioning", "expiry rules"]


@pytest.mark.parametrize(
    "text",
    ["s3://b/x", "s3://results", "s3://results/", "http://results/x", "s3://results/a/../b", "s3://results/a\nb"],
)
def test_only_a_plain_bucket_and_prefix_are_taken(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Nothing was copied"):
        BucketUrl.parse(text)
