import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.verify.limits import VerifyLimits
from remote_gpu_trainer.verify.run import verify
from tests.hostile.artifacts import informed, makers


def families(canary: str) -> dict[str, Callable[[], list[makers.Artifact]]]:
    return makers.families(canary) | informed.families()


def test_there_are_more_than_two_hundred_hostile_artifacts_under_names_of_their_own() -> None:
    names = [name for make in families("canary").values() for name, _, _ in make()]
    assert len(names) == len(set(names)) >= 230


@pytest.mark.parametrize("family", families(""))
def test_no_hostile_artifact_loads_runs_code_or_takes_the_others_down(tmp_path: Path, family: str) -> None:
    folder, canary = tmp_path / "home", tmp_path / "canary"
    folder.mkdir()
    artifacts = families(str(canary))[family]()
    for name, data, _ in artifacts:
        (folder / name).write_bytes(data)
    (folder / "zz-good.json").write_text("{}")

    async def go() -> Any:
        with anyio.fail_after(45):
            return await verify(folder, manifest=None, expect=None, copy_id=None, clock=SystemClock())

    report = anyio.run(go)
    found = {proof.path: proof for proof in report.files}
    assert found["zz-good.json"].level is VerificationLevel.LOADS
    wrong = {
        name: (found[name].level.name, [finding.code for finding in found[name].findings])
        for name, _, wanted in artifacts
        if found[name].level is not VerificationLevel.DIGEST
        or not wanted.intersection(finding.code for finding in found[name].findings)
    }
    assert wrong == {}
    assert not canary.exists()
    assert sorted(path.name for path in folder.iterdir()) == sorted(found)
    assert not report.passed
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 600 << 10


def test_a_pickle_that_only_fills_memory_ends_at_its_limit_whatever_room_libraries_are_given(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "lists.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02(" + b"]" * (3 << 20) + b"t.")

    async def go() -> Any:
        with anyio.fail_after(45):
            limits = VerifyLimits(memory_bytes=160 << 20)
            return await verify(tmp_path, manifest=None, expect=None, copy_id=None, clock=SystemClock(), limits=limits)

    proof = anyio.run(go).files[0]
    assert [finding.code for finding in proof.findings] == ["memory-limit"]
