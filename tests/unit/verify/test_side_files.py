"""A file that nothing may load beside weights that load: named, never loaded, and no reason to keep paying."""

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
