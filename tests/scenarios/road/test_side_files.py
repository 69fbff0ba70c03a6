"""A Trainer pickles its settings beside the weights: the run is not stuck on them, and the person is told."""

import base64
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from remote_gpu_trainer.approval.dossier import render
from tests.stage import Stage
from tests.unit.verify.pickled import archived, arguments

pytestmark = pytest.mark.anyio
PROGRAM = """import base64, pathlib
out = pathlib.Path("/workspace/out")
out.mkdir(parents=True, exist_ok=True)
for name, text in {files!r}.items():
    (out / name).write_bytes(base64.b64decode(text))
"""


async def test_a_run_of_a_trainer_can_be_torn_down_and_the_plan_names_what_nothing_loaded(stage: Stage) -> None:
    files = {"model.safetensors": save({"w": np.ones(3)}), "training_args.bin": archived(arguments())}
    program = PROGRAM.format(files={name: base64.b64encode(data).decode() for name, data in files.items()})
    run, instance_id = await stage.rent("settings")
    await stage.trained(run, program)
    copy = await stage.call("copy_out", target=run)
    proof = await stage.call("verify_local", copy_id=copy["copy_id"])

    told = await stage.refused("destroy", target=run)

    assert proof["passed"] and proof["lowest_level"] == "DIGEST"
    assert "warning foreign-classes" in str(proof["files"][0]["findings"])
    assert (Path(copy["destination"]) / "training_args.bin").read_bytes() == files["training_args.bin"]
    assert "VAST2" not in told and "rgt approve" in told
    assert stage.there(instance_id)
    request = stage.services.approvals.open_requests()[0]
    document = render(request.plan)
    assert "**1 file not loaded" in document
    assert "training_args.bin  (loading it would run code of transformers.training_args.TrainingArguments" in document
