"""Results that also go into a bucket, and what the bucket's state means for a teardown."""

import shutil
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from remote_gpu_trainer.approval.dossier import render
from remote_gpu_trainer.approval.pageview import question_page
from remote_gpu_trainer.approval.summary import summary
from remote_gpu_trainer.transfer.alone import alone
from tests.bucket import BUCKET, Faults, client, served
from tests.stage import Stage, on_stage

pytestmark = pytest.mark.anyio
URL = f"s3://{BUCKET}/runs/tiny"
LARGE = (48 << 20) + 7
LARGE_JOB = f"""import os
os.makedirs("/workspace/out", exist_ok=True)
with open("/workspace/out/weights.bin", "wb") as file:
    file.write(os.urandom({LARGE}))
"""


@pytest.fixture(scope="module")
def faults() -> Faults:
    return Faults()


@pytest.fixture(scope="module")
def s3(faults: Faults) -> Iterator[Any]:
    """A store, and a bucket whose rules delete everything after a week."""
    with served(faults) as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        made = client()
        made.create_bucket(Bucket=BUCKET)
        weekly = {"ID": "weekly", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}}
        made.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [weekly]})
        yield made


@pytest.fixture(scope="module")
async def stage(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    policy = f'stop_before_asking = false\nmax_instances = 6\ncopy_destinations = ["s3://{BUCKET}/runs/"]\n'
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
    await demand_named(stage, s3, run)

    s3.put_object(Bucket=BUCKET, Key="runs/tiny/result.json", Body=b"something else")
    told = await stage.refused("destroy", target=run)
    assert "is another object than the proven one" in told
    assert stage.there(instance_id)

    await stage.call("copy_out", target=run, destination=URL)
    assert s3.get_object(Bucket=BUCKET, Key="runs/tiny/result.json")["Body"].read() == local.read_bytes()


async def demand_named(stage: Stage, s3: Any, run: str) -> None:
    """See that the rule which will delete the copy is told to everyone who decides, until the rule is gone."""
    told = await stage.refused("destroy", target=run)
    assert "That bucket will delete what it holds of this copy" in told
    assert "rule 'weekly' deletes objects under '' 7 days after they were stored" in told
    (request,) = stage.services.approvals.open_requests()
    page = question_page(request, form="form", nonce="nonce")
    for shown in (render(request.plan), page, summary(request.plan, limit=800, where="the page")):
        assert "will delete" in shown
    assert "weekly" in page

    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    told = await stage.refused("destroy", target=run)
    assert f"Also in {URL}: 1 object, all still there" in told
    assert "will delete" not in told
    (after,) = stage.services.approvals.open_requests()
    assert after.plan_digest != request.plan_digest
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
    assert "will delete" in await stage.refused("destroy", target=run)


async def test_a_refusal_in_the_middle_of_a_large_object_says_what_stays_there_and_the_next_copy_goes_on(
    stage: Stage, s3: Any, faults: Faults
) -> None:
    run, _ = await stage.rent("large")
    await stage.trained(run, LARGE_JOB)

    def refuse_the_third(operation: str) -> None:
        if operation == "UploadPart" and faults.asked.count("UploadPart") >= 3:
            faults.rest()
            faults.denied.add("UploadPart")

    faults.heal()
    faults.before = refuse_the_third
    told = await stage.refused("copy_out", target=run, destination=URL)
    assert "; parts of 1 unfinished object(s), " in told
    assert "are billed until this copy is repeated, which goes on from them" in told
    assert "is parked" in told
    (reminder,) = [one for one in (await stage.call("spend"))["reminders"] if "unfinished upload" in one]
    assert f"weights.bin to {URL} (up to 48.0 MiB, begun" in reminder

    (left,) = s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
    parts = s3.list_parts(Bucket=BUCKET, Key=left["Key"], UploadId=left["UploadId"])["Parts"]
    kept = sum(part["Size"] for part in parts)
    assert 0 < kept < LARGE
    faults.heal()
    copy = await stage.call("copy_out", target=run, destination=URL)
    assert copy["bucket"].startswith(f"{URL}: 1 objects proven, 0 of them by reading them back")
    assert faults.received == LARGE - kept
    assert "CreateMultipartUpload" not in faults.asked
    assert s3.get_object(Bucket=BUCKET, Key="runs/tiny/weights.bin")["ContentLength"] == LARGE
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    assert not [one for one in (await stage.call("spend"))["reminders"] if "unfinished upload" in one]


async def test_results_whose_machine_and_local_files_are_gone_come_back_from_the_bucket(
    stage: Stage, faults: Faults
) -> None:
    faults.heal()
    run, instance_id = await stage.rent("gone")
    await stage.trained(run)
    copy = await stage.call("copy_out", target=run, destination=f"{URL}/gone")
    stage.market.do("/quirks", reappears=False)
    stage.market.destroy(instance_id)
    await stage.call("poll_status", target=run)
    stage.clock.pass_by(timedelta(seconds=30))
    assert (await stage.call("poll_status", target=run))["runs"][0]["phase"] == "closed"
    shutil.rmtree(copy["destination"])

    told = await stage.refused("copy_out", target=run, paths=["/workspace/out"])
    assert f"copy {copy['copy_id']} of it lies in a bucket" in told
    with alone(Path(copy["destination"]), "of another process"):
        assert "[destination_busy]" in await stage.refused("copy_out", target=run)
    again = await stage.call("copy_out", target=run)
    assert again["route"] == f"bucket: the machine is gone, and copy {copy['copy_id']} lies in {URL}/gone"
    assert again["bytes_transferred"] == copy["bytes"]
    assert (await stage.call("verify_local", copy_id=again["copy_id"]))["passed"]


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
