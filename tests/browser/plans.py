"""A plan as a real run leaves it: checkpoints, a metrics file on this disk, losses, and names meant to deceive."""

import hashlib
import json
import math
import secrets
from pathlib import Path

from remote_gpu_trainer.domain.artifacts import VerificationLevel
from remote_gpu_trainer.domain.plans import Evidence, Loss, ProvenFile, TeardownPlan
from tests.unit.database.builders import COPY, START, a_teardown

LOSSES = (
    Loss(path="/workspace/data/shards/train-0001.tar", size=41_200_000_000, reason="outside the roots that were asked"),
    Loss(path="/workspace/out/debug.log", size=2_000_000, reason="excluded by *.log"),
    Loss(path="/workspace/out/latest", size=0, reason="a symbolic link"),
)


def write_metrics(folder: Path, steps: int = 900) -> str:
    """A falling loss with a spike, and a validation loss; the file's sha256."""
    rows: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        loss = 2.2 * math.exp(-step / 190) + 0.11 + 0.05 * math.sin(step * 1.7) + (0.8 if step == 610 else 0)
        rows.append({"step": step, "loss": round(loss, 5)})
        if step % 60 == 0:
            rows[-1]["val_loss"] = round(2.1 * math.exp(-step / 200) + 0.19, 5)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def a_full_plan(
    folder: Path, *, files: int = 8, losses: tuple[Loss, ...] = LOSSES, writers: tuple[str, ...] = ()
) -> TeardownPlan:
    """A teardown with ``files`` checkpoints in three folders, and the metrics file in ``folder``."""
    digest = write_metrics(folder)
    proven = [
        ProvenFile(
            path="metrics.jsonl",
            size=(folder / "metrics.jsonl").stat().st_size,
            sha256=digest,
            level=VerificationLevel.LOADS,
        ),
        ProvenFile(path="optimizer.bin", size=712_000_000, sha256="5e" * 32, level=VerificationLevel.DIGEST),
    ]
    proven.extend(
        ProvenFile(
            path=f"checkpoints/step-{(number + 1) * 100:06}/rank-{number % 3}/model.safetensors",
            size=356_000_000 + number,
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            level=VerificationLevel.MEETS_EXPECTATIONS if number == files - 1 else VerificationLevel.LOADS,
        )
        for number in range(files)
    )
    evidence = Evidence(
        copy_id=COPY,
        destination=str(folder),
        manifest_digest="ab" * 32,
        copied_at=START,
        verified_at=START,
        lowest_level=VerificationLevel.DIGEST,
        files=tuple(proven),
    )
    return a_teardown(
        nonce=secrets.token_hex(8),
        losses=losses,
        evidence=(evidence,),
        writers=writers,
        volumes=("volume 91 (50 GiB) bills $0.0069 an hour until deleted",),
    )
