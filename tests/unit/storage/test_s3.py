"""Bringing files into a bucket and proving that they are there."""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.domain.uploads import FileDigests
from remote_gpu_trainer.errors import DigestMismatch, InvalidRequest, TransferError
from remote_gpu_trainer.storage import BucketUrl, S3Store
from tests.bucket import BUCKET

pytestmark = pytest.mark.anyio
Opened = Callable[[bytes], int]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(content: bytes) -> FileDigests:
    """Of a file that goes in one piece."""
    return FileDigests(size=len(content), sha256=digest(content), part_bytes=None)


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


async def test_a_bucket_that_will_delete_the_copy_is_named(s3: Any) -> None:
    def rule(name: str, prefix: str, **more: Any) -> dict[str, Any]:
        return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": 3}, **more}

    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET,
        LifecycleConfiguration={
            "Rules": [
                rule("all", ""),
                rule("ours", "run-1/"),
                rule("part of ours", "run-1/out/"),
                rule("others", "run-2/"),
                rule("off", "", Status="Disabled"),
                rule("tagged", "", Filter={"Tag": {"Key": "a", "Value": "b"}}),
            ]
        },
    )
    rules = await store().rules()
    assert [said.split("'")[1] for said in rules.expiring] == ["all", "ours", "part of ours"]
    assert "3 days after they were stored" in rules.expiring[0]
    assert rules.versioned is False
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert (await store().rules()).versioned is True


async def test_rules_that_cannot_be_read_are_unknown_and_not_absent(s3: Any) -> None:
    rules = await store("s3://not-there/run").rules()
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
