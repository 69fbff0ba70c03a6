"""One job at a time on a machine, and what an old one leaves behind is not taken for the new one's."""

import pytest

from tests.stage import Stage

pytestmark = pytest.mark.anyio
HANGS = """import os, time
os.makedirs("/workspace/out", exist_ok=True)
for step in range(10_000):
    with open("/workspace/out/hanging.txt", "a") as file:
        file.write(f"{step}\\n")
    time.sleep(0.2)
"""
AGAIN = {"command": ["python3", "train.py"], "resumes": True}


async def at_work(stage: Stage, run: str) -> str:
    """The job's line in the run's row, as soon as the runner has given a sign."""
    for _ in range(100):
        job = str((await stage.call("poll_status", target=run))["runs"][0]["job"])
        if job.startswith("running"):
            return job
        await stage.clock.sleep(0.1)
    raise AssertionError("the job was never seen to run")


async def test_a_second_job_is_refused_while_the_first_runs_and_takes_its_place_when_acknowledged(stage: Stage) -> None:
    run, _ = await stage.rent("busy")
    await stage.started(run, HANGS)
    first = await at_work(stage, run)

    told = await stage.refused("start_job", target=run, **AGAIN)

    assert "U35" in told
    assert "The job was not started" in told
    assert await at_work(stage, run) == first

    (stage.folder / "code" / "train.py").write_text('print("second", flush=True)\n', encoding="utf-8")
    await stage.call("push_files", target=run, source=str(stage.folder / "code"))
    await stage.call("start_job", target=run, acknowledge=["U35"], **AGAIN)

    view = (await stage.call("poll_status", target=run, wait_s=30, until="finished"))["runs"][0]
    assert str(view["job"]).startswith("succeeded"), view
    assert "second" in (await stage.call("read_logs", target=run))["text"]


async def test_the_end_of_an_earlier_job_is_not_taken_for_the_end_of_the_newest(stage: Stage) -> None:
    run, _ = await stage.rent("newest")
    await stage.trained(run)

    await stage.started(run, HANGS)
    view = (await stage.call("poll_status", target=run))["runs"][0]

    assert view["phase"] == "training"
    assert not str(view["job"]).startswith("succeeded")
