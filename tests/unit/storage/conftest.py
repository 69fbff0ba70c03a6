"""A store on loopback with one empty bucket."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.bucket import BUCKET, client, served


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def plain() -> Iterator[Any]:
    """A client of a store that all tests of a module share, and which the environment names."""
    with served() as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield client()


@pytest.fixture
def s3(plain: Any) -> Any:
    """The client, and an empty bucket without rules."""
    if any(one["Name"] == BUCKET for one in plain.list_buckets()["Buckets"]):
        for one in plain.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            plain.delete_object(Bucket=BUCKET, Key=one["Key"])
        plain.delete_bucket(Bucket=BUCKET)
    plain.create_bucket(Bucket=BUCKET)
    return plain
