"""A store on loopback with one empty bucket, and copies that go there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.storage import BucketUrl, NoteFolder, S3Store
from remote_gpu_trainer.transfer import CopyLimits
from tests.bucket import BUCKET, Faults, client, served

MIB = 1 << 20
PART = 5 * MIB
"""The least that S3 takes, so that small files have many parts."""
AT_ONCE = 4
LIMITS = CopyLimits(max_bytes=1 << 30, max_files=100, max_depth=8, keep_free_bytes=0)
URL = f"s3://{BUCKET}/run-1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def the_faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def plain(the_faults: Faults) -> Iterator[Any]:
    """A client of a store that all tests of a module share, and which the environment names."""
    with served(the_faults) as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield client()


@pytest.fixture
def s3(plain: Any, the_faults: Faults) -> Any:
    """The client, and an empty bucket without rules."""
    the_faults.heal()
    if any(one["Name"] == BUCKET for one in plain.list_buckets()["Buckets"]):
        for one in plain.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
            plain.abort_multipart_upload(Bucket=BUCKET, Key=one["Key"], UploadId=one["UploadId"])
        found = plain.list_object_versions(Bucket=BUCKET)
        for one in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
            plain.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
        plain.delete_bucket(Bucket=BUCKET)
    plain.create_bucket(Bucket=BUCKET)
    the_faults.heal()
    return plain


@pytest.fixture
def faults(s3: Any, the_faults: Faults) -> Faults:
    """What goes wrong at the store, and what was asked of it since the test began."""
    return the_faults


def quick(url: str) -> S3Store:
    """A store in small parts and few requests, which gives up at once."""
    return S3Store(BucketUrl.parse(url), part=PART, tries=1, at_once=AT_ONCE)


def buckets(home: Path, *, open_store: Callable[[str], S3Store] = quick) -> Buckets:
    """The service over a home's notes."""
    return Buckets(open_store, NoteFolder(home / "uploads"), SystemClock())
