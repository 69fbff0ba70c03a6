"""A model in parts is whole only when each part that its index names is there and holds what it promises."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]  # its PathLike has no parameter

from remote_gpu_trainer.domain.artifacts import Expectations, VerificationLevel
from tests.unit.verify.test_run import codes, proofs, run

INDEX = "m/model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model of three tensors in two parts."""
    (tmp_path / "m").mkdir()
    save_file({"a": np.ones(3), "b": np.ones(2)}, tmp_path / "m" / ONE)
    save_file({"c": np.ones(1)}, tmp_path / "m" / TWO)
    promise(tmp_path, {"a": ONE, "b": ONE, "c": TWO})
    return tmp_path


def promise(home: Path, weight_map: object) -> None:
    (home / INDEX).write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": weight_map}))


def test_a_model_in_parts_loads_and_its_index_knows_every_tensor(home: Path) -> None:
    save_file({name: np.ones(1) for name in "abc"}, home / "whole.safetensors")
    report = run(home, expect=Expectations(keys=("a", "c"), same_names_as="whole.safetensors"))
    assert report.passed, report.unmet
    assert proofs(report)[INDEX].level is VerificationLevel.MEETS_EXPECTATIONS
    assert proofs(report)[INDEX].facts["parts"] == 2
    save_file({name: np.ones(1) for name in "abd"}, home / "whole.safetensors")
    other = run(home, expect=Expectations(same_names_as="whole.safetensors"))
    assert other.unmet == (f"{INDEX} differs from whole.safetensors in 2 tensor names, first 'c'.",)


def test_a_part_that_is_not_there_is_an_error_of_the_index(home: Path) -> None:
    (home / "m" / TWO).unlink()
    report = run(home)
    proof = proofs(report)[INDEX]
    assert (proof.level, codes(proof)) == (VerificationLevel.DIGEST, {"missing-shard"})
    assert TWO in proof.findings[0].message
    assert not report.passed


def test_a_part_of_another_save_is_an_error_of_the_index(home: Path) -> None:
    save_file({"x": np.ones(1)}, home / "m" / TWO)
    proof = proofs(run(home))[INDEX]
    assert codes(proof) == {"short-shard"}
    assert "lacks 1 tensors that it promises, first 'c'" in proof.findings[0].message


def test_an_index_that_names_a_file_elsewhere_is_refused_and_other_maps_are_none(home: Path) -> None:
    promise(home, {"a": "../one.safetensors"})
    assert codes(proofs(run(home))[INDEX]) == {"unsafe-name"}
    others: list[object] = [[], {"a": 1}, {"a" * 501: ONE}, "x"]
    for other in others:
        promise(home, other)
        assert codes(proofs(run(home))[INDEX]) == set()


def test_an_index_that_is_looked_at_alone_says_nothing_of_its_parts(home: Path) -> None:
    (home / "m" / TWO).unlink()
    assert run(home / INDEX).passed
