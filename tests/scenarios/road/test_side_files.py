"""A Trainer pickles its settings beside the weights: the run is not stuck on them, and the person is told."""

import base64
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from remote_gpu_trainer.approval.dossier import render
from tests.stage import Stage, on_stage
from tests.unit.verify.pickled import archived, arguments
from tests.unit.verify.written import external

pytestmark = pytest.mark.anyio
PROGRAM = """import base64, pathlib
out = pathlib.Path("/workspace/out")
out.mkdir(parents=True, exist_ok=True)
for name, text in {files!r}.items():
    (out / name).write_bytes(base64.b64decode(text))
"""


POLICY = 'accept_unloaded = ["*.ckpt"]\nweights_must_load = true\n'


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    """A person's policy that takes one kind of file by its bytes and wants all other weights loaded."""
    async with on_stage(tmp_path_factory.mktemp("stage"), policy=POLICY) as standing:
        yield standing


async def test_a_run_of_a_trainer_can_be_torn_down_and_the_plan_names_what_nothing_loaded(stage: Stage) -> None:
    files = {"model.safetensors": save({"w": np.ones(3)}), "training_args.bin": archived(arguments())}
    files["last.ckpt"] = files["training_args.bin"]
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
    assert "**2 files not loaded" in document
    assert "the policy accepts its bytes as proof enough" in document
    assert "training_args.bin  (loading it would run code of transformers.training_args.TrainingArguments" in document


async def test_what_the_policy_accepts_and_demands_holds_for_a_folder_without_a_copy_too(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").write_bytes(archived(arguments()))
    assert (await stage.call("verify_local", path=str(tmp_path)))["passed"]
    (tmp_path / "model.onnx").write_bytes(external())
    (tmp_path / "weights.data").write_bytes(bytes(32))

    proof = await stage.call("verify_local", path=str(tmp_path))

    assert not proof["passed"] and proof["errors"] == []
    assert proof["unmet"] == ["model.onnx reached DIGEST, and the policy wants every weight file loaded."]
