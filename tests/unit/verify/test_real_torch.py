"""What torch and the Trainer of transformers really write, loaded by torch itself in the confined process.

Neither is needed to use or to test this program, so each part is skipped, and says so, where it is not installed.
"""

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remote_gpu_trainer.domain.artifacts import FOREIGN_CLASSES, VerificationLevel
from tests.unit.verify.test_run import codes, proofs, run

torch: Any = pytest.importorskip("torch", reason="torch is not installed: only the restricted reader can be tried")


def test_checkpoints_of_each_kind_load_and_what_torch_cannot_say_without_code_does_not(tmp_path: Path) -> None:
    weights = {"a": torch.randn(4, 4).bfloat16(), "e": torch.ones(4).to(torch.float8_e4m3fn)}
    weights |= {"z": torch.ones(2).to(torch.float8_e5m2fnuz), "p": torch.nn.Parameter(torch.ones(3))}
    good: dict[str, Any] = {
        "model.pt": {"model": weights, "step": 4},
        "rng_state.pth": {
            "python": random.getstate(), "numpy": np.random.RandomState(1).get_state(), "cpu": torch.get_rng_state(),
        },
        "last.ckpt": {
            "state_dict": {"w": torch.ones(3)}, "epoch": 2, "hyper_parameters": argparse.Namespace(out=Path("x")),
            "loss": np.float64(0.5), "scores": np.asfortranarray(np.ones((2, 3), ">f4")),
        },
    }  # fmt: skip
    for name, what in good.items():
        torch.save(what, tmp_path / name)
    torch.save({"w": torch.ones(3), "n": np.ones(2)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    torch.save({"objects": np.array([{}], object)}, tmp_path / "objects.bad.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.bad.pt")
    found = proofs(run(tmp_path))
    levels = {path: proof.level for path, proof in found.items()}
    assert {path for path, level in levels.items() if level is VerificationLevel.LOADS} == {*good, "old.bin"}
    assert found["model.pt"].facts["step"] == 4
    assert found["last.ckpt"].facts | {"epoch": 2, "nan_values": 0} == found["last.ckpt"].facts
    assert codes(found["objects.bad.pt"]) == {"unsafe-pickle"}
    assert codes(found["module.bad.pt"]) == {FOREIGN_CLASSES}


@pytest.mark.timeout(180)
def test_the_folder_of_a_real_trainer_passes_with_its_settings_named_as_unloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hf: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate")

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, at: int) -> dict[str, Any]:
            return {"input_ids": torch.arange(8) + at, "labels": torch.arange(8)}

    model = hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=1, n_head=1, n_embd=16, vocab_size=32, n_positions=16))
    asked = hf.TrainingArguments(output_dir=str(tmp_path), max_steps=2, save_steps=1, report_to=[], use_cpu=True)
    trainer = hf.Trainer(model=model, args=asked, train_dataset=Rows())
    trainer.train()
    trainer.save_model()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="8KB")
    report = run(tmp_path)
    unloaded = {path: codes(proof) for path, proof in proofs(report).items() if proof.level < VerificationLevel.LOADS}
    assert unloaded == {
        path: {FOREIGN_CLASSES}
        for path in ("training_args.bin", "checkpoint-1/training_args.bin", "checkpoint-2/training_args.bin")
    }
    assert report.passed
