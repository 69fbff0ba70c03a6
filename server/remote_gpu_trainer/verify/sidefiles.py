"""Files beside the weights that nothing may load: what is proven of them, and when that is enough. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from remote_gpu_trainer.domain.artifacts import (
    FOREIGN_CLASSES,
    ArtifactFinding,
    FileProof,
    Severity,
    VerificationLevel,
)
from remote_gpu_trainer.verify.expect import matches
from remote_gpu_trainer.verify.roll import Roll, Seen

SIDE_FILES = ("training_args.bin",)
"""By name, in any folder: settings that the Trainer of transformers (and trl) pickles beside every checkpoint."""
SIDE_BYTES_MOST = 1 << 20
WEIGHTS = {"safetensors", "pytorch", "gguf", "onnx"}
"""Formats whose files carry weights."""
WAY_OUT = (
    "save its state_dict() as safetensors and copy that, or the person accepts it by its bytes (accept_unloaded in "
    "policy.toml)"
)
FLOATS = "non_finite_share"
"""The fact that is there exactly when a loader saw floating-point numbers."""


def settle(roll: Roll, accepted: Sequence[str]) -> None:
    """Lower the refusal of a pickle to a warning where its bytes are proof enough.

    It stays at DIGEST in any case. A known side file has to be small, hold no floating-point number and lie beside
    weights that no loader found fault with; ``accepted`` are globs of files that the person wants no load of. A pickle
    that asks for what only an attack needs is ``unsafe-pickle``, and is never lowered.
    """
    sound = (item.proof for _, item in roll.asked() if item.kind in WEIGHTS and not _broken(item.proof))
    whole = next((proof.path for proof in sound if FLOATS in proof.facts), None)
    for at, item in roll.asked():
        if any(finding.code == FOREIGN_CLASSES for finding in item.proof.findings):
            roll.replace(at, _lowered(item, accepted, whole))


def is_weights(item: Seen) -> bool:
    """Whether a file's format is one that carries weights, and it is not settled as a side file."""
    lowered = any(finding.code == FOREIGN_CLASSES and not _grave(finding) for finding in item.proof.findings)
    return item.kind in WEIGHTS and not lowered


def unloaded_weights(roll: Roll) -> list[str]:
    """One sentence for each weight file that was not really loaded."""
    return [
        f"{item.proof.path} reached {item.proof.level.name}, and the policy wants every weight file loaded."
        for _, item in roll.asked()
        if is_weights(item) and item.proof.level < VerificationLevel.LOADS
    ]


def _lowered(item: Seen, accepted: Sequence[str], whole: str | None) -> Seen:
    proof = item.proof
    name = proof.path.rsplit("/", 1)[-1]
    severity = Severity.WARNING
    if any(matches(proof.path, glob) for glob in accepted):
        why = "the policy accepts its bytes as proof enough"
    elif name in SIDE_FILES and whole and proof.size <= SIDE_BYTES_MOST and FLOATS not in proof.facts:
        why = f"it holds no weights, and {whole} does"
    else:
        severity, why = Severity.ERROR, WAY_OUT
    findings = tuple(
        finding.model_copy(update={"severity": severity, "message": f"{finding.message}; {why}"})
        if finding.code == FOREIGN_CLASSES
        else finding
        for finding in proof.findings
    )
    return replace(item, proof=proof.model_copy(update={"findings": findings}))


def _grave(finding: ArtifactFinding) -> bool:
    return finding.severity is Severity.ERROR


def _broken(proof: FileProof) -> bool:
    return proof.level < VerificationLevel.DIGEST or any(_grave(finding) for finding in proof.findings)
