"""A file that nothing may load beside weights that load: named, never loaded, and no reason to keep paying."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its PathLike has no parameter

from remote_gpu_trainer.domain.artifacts import FOREIGN_CLASSES, Expectations, FileProof, Severity, VerificationLevel
from tests.hostile.artifacts.makers import SHELL, Calls
from tests.unit.verify.pickled import archived, arguments
from tests.unit.verify.test_pytorch import STATE
from tests.unit.verify.test_run import codes, proofs, run

SETTINGS = "checkpoint-4/training_args.bin"
TENSOR = STATE[STATE.index(b"ctorch._utils") : STATE.index(b"X\x04\x00\x00\x00stepq")]
FOUR = np.arange(1, 5, dtype=np.float32).tobytes()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with weights that load."""
    (tmp_path / "checkpoint-4").mkdir()
    save_file({"w": np.ones(4, np.float32)}, tmp_path / "checkpoint-4" / "model.safetensors")
    return tmp_path


def severities(proof: FileProof) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in proof.findings}


def test_the_settings_that_a_trainer_pickles_stay_unloaded_and_stop_nothing_beside_whole_weights(home: Path) -> None:
    (home / SETTINGS).write_bytes(archived(arguments()))
    report = run(home)
    proof = proofs(report)[SETTINGS]
    assert (proof.level, proof.format) == (VerificationLevel.DIGEST, None)
    assert severities(proof) == {FOREIGN_CLASSES: Severity.WARNING}
    assert "transformers.training_args.TrainingArguments" in proof.findings[0].message
    assert "checkpoint-4/model.safetensors" in proof.findings[0].message
    assert report.passed
    assert report.lowest_level is VerificationLevel.DIGEST


def test_who_asks_for_a_load_of_every_file_is_told_that_one_was_not(home: Path) -> None:
    (home / SETTINGS).write_bytes(archived(arguments()))
    report = run(home, expect=Expectations(min_level=VerificationLevel.LOADS))
    assert report.unmet == (f"{SETTINGS} reached DIGEST and LOADS is expected.",)
    assert run(home, expect=Expectations(files=("**/*.safetensors",), min_level=VerificationLevel.LOADS)).passed


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("model.pt", archived(arguments())),
        ("my_training_args.bin", archived(arguments())),
        ("training_args.bin", archived(arguments(w="%").replace(b"X\x01\x00\x00\x00%", TENSOR), _0=FOUR)),
        ("training_args.bin", archived(arguments(rest=np.ones(3)))),
        ("training_args.bin", archived(arguments(rest="x" * (1 << 20)))),
    ],
    ids=["named as weights", "named nearly so", "with a tensor", "with an array", "large"],
)
def test_what_could_be_the_weights_is_never_let_through_unloaded(home: Path, name: str, data: bytes) -> None:
    (home / name).write_bytes(data)
    report = run(home)
    proof = proofs(report)[name]
    assert (proof.level, severities(proof)) == (VerificationLevel.DIGEST, {FOREIGN_CLASSES: Severity.ERROR})
    assert not report.passed


def test_settings_alone_or_beside_broken_weights_prove_nothing(tmp_path: Path) -> None:
    (tmp_path / "training_args.bin").write_bytes(archived(arguments()))
    (tmp_path / "eval.json").write_text("{}")
    assert not run(tmp_path).passed
    (tmp_path / "model.safetensors").write_bytes(b"\x08")
    assert severities(proofs(run(tmp_path))["training_args.bin"]) == {FOREIGN_CLASSES: Severity.ERROR}


def checkpoint(folder: Path, *names: str) -> None:
    """A folder as the Trainer leaves it: what it resumes from, and the files named."""
    folder.mkdir()
    tensor = archived(b"\x80\x02" + TENSOR + b".", _0=FOUR)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "scaler.pt", *names):
        (folder / name).write_bytes(tensor)
    (folder / "trainer_state.json").write_text('{"epoch": 1.0, "global_step": 4}')
    (folder / "training_args.bin").write_bytes(archived(arguments()))


def told(folder: Path) -> dict[str, str]:
    """What is said of the settings in each checkpoint below a folder."""
    found = proofs(run(folder))
    return {
        path.split("/")[0]: f"{proof.findings[0].severity}: {proof.findings[0].message}"
        for path, proof in found.items()
        if path.endswith("training_args.bin")
    }


def test_beside_means_the_same_folder_and_what_a_run_resumes_from_is_no_model(tmp_path: Path) -> None:
    save_file({"w": np.ones(4, np.float32)}, tmp_path / "model.safetensors")
    checkpoint(tmp_path / "checkpoint-1")
    checkpoint(tmp_path / "checkpoint-2", "pytorch_model.bin")
    said = told(tmp_path)
    assert said["checkpoint-1"].startswith("error: loading it would run code of transformers.training_args")
    assert "no file beside it is proven to hold the model" in said["checkpoint-1"]
    assert said["checkpoint-2"].startswith("warning: loading it would run code of transformers.training_args")
    assert "so nothing loaded it" in said["checkpoint-2"]
    assert "checkpoint-2/pytorch_model.bin beside it is whole" in said["checkpoint-2"]


def test_a_model_in_parts_beside_settings_counts_with_its_index_and_all_its_parts(tmp_path: Path) -> None:
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in ("whole", "cut", "bare"):
        checkpoint(tmp_path / name)
        for number, part in enumerate(parts):
            save_file({f"w{number}": np.ones(4, np.float32)}, tmp_path / name / part)
        index = {"metadata": {"total_size": 32}, "weight_map": {"w0": parts[0], "w1": parts[1]}}
        (tmp_path / name / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "cut" / parts[1]).unlink()
    (tmp_path / "bare" / "model.safetensors.index.json").unlink()
    said = {name: words.split(":")[0] for name, words in told(tmp_path).items()}
    assert said == {"whole": "warning", "cut": "error", "bare": "error"}


def test_tensor_names_are_not_compared_with_what_a_run_resumes_from(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / f"checkpoint-{step}")
        save_file({"w": np.ones(4, np.float32)}, tmp_path / f"checkpoint-{step}" / "model.safetensors")
    expect = Expectations(same_names_as="checkpoint-1/model.safetensors")
    report = run(tmp_path, expect=expect)
    assert report.passed, report.unmet


@pytest.mark.parametrize("accepted", [(), ("**/training_args.bin", "*")])
def test_an_attack_under_the_name_of_settings_is_an_error_whatever_the_policy_accepts(
    home: Path, accepted: tuple[str, ...]
) -> None:
    canary = home / "canary"
    (home / SETTINGS).write_bytes(archived(arguments(log=Calls(SHELL, f"touch {canary}"))))
    report = run(home, accept_unloaded=accepted)
    proof = proofs(report)[SETTINGS]
    assert (proof.level, severities(proof)) == (VerificationLevel.DIGEST, {"unsafe-pickle": Severity.ERROR})
    assert "posix.system" in proof.findings[0].message
    assert not report.passed
    assert not canary.exists()


def test_a_person_may_accept_a_checkpoint_of_foreign_classes_by_its_bytes_and_demand_loaded_weights(
    home: Path,
) -> None:
    whole = b"\x80\x02}(X\x01\x00\x00\x00w" + TENSOR + b"X\x01\x00\x00\x00a" + arguments()[2:-1] + b"u."
    (home / "last.ckpt").write_bytes(archived(whole, _0=FOUR))
    refused = run(home)
    assert not refused.passed
    assert "save its state_dict() as safetensors" in str(refused.errors)
    accepted = run(home, accept_unloaded=("**/last.ckpt",))
    proof = proofs(accepted)["last.ckpt"]
    assert accepted.passed
    assert (proof.level, severities(proof)) == (VerificationLevel.DIGEST, {FOREIGN_CLASSES: Severity.WARNING})
    assert proof.facts["tensors"] == 1
    (home / "cut.ckpt").write_bytes(archived(whole, _0=FOUR[:8]))
    assert codes(proofs(run(home, accept_unloaded=("*.ckpt",)))["cut.ckpt"]) == {"lying-storage"}


def test_the_policy_can_want_every_weight_file_loaded(home: Path) -> None:
    (home / SETTINGS).write_bytes(archived(arguments()))
    (home / "notes.txt").write_text("fine")
    assert run(home, weights_must_load=True).passed
    (home / "model.onnx").write_bytes(b"\x08")
    report = run(home, weights_must_load=True)
    assert [line for line in report.unmet if "model.onnx reached DIGEST" in line] == list(report.unmet) != []
