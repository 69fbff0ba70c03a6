import io
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.verify.loaders.jsontext import parse_json
from remote_gpu_trainer.verify.loaders.pickles import Reader
from remote_gpu_trainer.verify.outcome import BrokenArtifact
from remote_gpu_trainer.verify.run import verify
from tests.hostile.artifacts.makers import Artifact, all_artifacts


class FixedClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


def test_no_hostile_artifact_loads_runs_code_or_takes_the_others_down(tmp_path: Path) -> None:
    folder, canary = tmp_path / "home", tmp_path / "canary"
    folder.mkdir()
    artifacts: list[Artifact] = all_artifacts(str(canary))
    assert len({name for name, _, _ in artifacts}) >= 120
    for name, data, _ in artifacts:
        (folder / name).write_bytes(data)
    (folder / "zz-good.json").write_text("{}")

    async def go() -> Any:
        with anyio.fail_after(45):
            return await verify(folder, manifest=None, expect=None, copy_id=None, clock=FixedClock())

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


@given(st.binary(max_size=200))
def test_the_restricted_reader_ends_any_bytes_in_a_value_or_a_named_break(data: bytes) -> None:
    try:
        Reader().read(io.BytesIO(data))
    except BrokenArtifact as broken:
        assert broken.code in {"unsafe-pickle", "malformed-pickle"}


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:1e', max_size=300).map(str.encode))
def test_any_json_like_bytes_end_in_a_value_or_a_named_break(data: bytes) -> None:
    try:
        parse_json(data)
    except BrokenArtifact as broken:
        assert broken.code in {"too-deep", "not-utf8", "not-json", "duplicate-key"}
