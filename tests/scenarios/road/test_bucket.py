"""Results that also go into a bucket, and what the bucket's state means for a teardown."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bucket import BUCKET, client, served
from tests.stage import Stage, on_stage

pytestmark = pytest.mark.anyio
URL = f"s3://{BUCKET}/runs/tiny"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A store, and a bucket whose rules delete everything after a week."""
    with served() as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        made = client()
        made.create_bucket(Bucket=BUCKET)
        weekly = {"ID": "weekly", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}}
        made.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [weekly]})
        yield made


@pytest.fixture(scope="module")
async def stage(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    policy = f'stop_before_asking = false\ncopy_destinations = ["s3://{BUCKET}/runs/"]\n'
    async with on_stage(tmp_path_factory.mktemp("stage"), policy=policy) as standing:
        yield standing


async def test_a_copy_into_a_bucket_is_proven_there_and_here_and_holds_a_teardown_only_while_it_is_there(
    stage: Stage, s3: Any
) -> None:
    run, instance_id = await stage.rent()
    await stage.trained(run)

    told = await stage.refused("copy_out", target=run, destination=f"s3://{BUCKET}/elsewhere")
    assert "copy_destinations" in told

    copy = await stage.call("copy_out", target=run, destination=URL)
    assert copy["bucket"].startswith(f"{URL}: 1 objects proven, 0 of them by reading them back")
    assert "rule 'weekly' deletes objects" in copy["bucket"]
    local = Path(copy["destination"]) / "result.json"
    assert s3.get_object(Bucket=BUCKET, Key="runs/tiny/result.json")["Body"].read() == local.read_bytes()
    assert (await stage.call("verify_local", copy_id=copy["copy_id"]))["passed"]
    assert "approve" in await stage.refused("destroy", target=run)

    s3.put_object(Bucket=BUCKET, Key="runs/tiny/result.json", Body=b"something else")
    told = await stage.refused("destroy", target=run)
    assert "is another object than the proven one" in told
    assert stage.there(instance_id)

    await stage.call("copy_out", target=run, destination=URL)
    assert s3.get_object(Bucket=BUCKET, Key="runs/tiny/result.json")["Body"].read() == local.read_bytes()


async def test_a_bucket_that_cannot_be_used_parks_the_run_with_its_cost_in_sight(stage: Stage) -> None:
    run, _ = await stage.rent("other")
    await stage.trained(run)
    told = await stage.refused("copy_out", target=run, destination=f"s3://{BUCKET}/runs/../up")
    assert "is no s3://bucket/prefix" in told
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        told = await stage.refused("copy_out", target=run, destination=URL)
    assert "is parked" in told
    assert "AWS_" in told
