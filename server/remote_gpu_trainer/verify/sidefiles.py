"""Files beside the weights that nothing may load: what is proven of them, and when that is enough. Pure."""

import posixpath
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
from remote_gpu_trainer.verify.layout import WEIGHTS, folder_of, holds_model, is_settings
from remote_gpu_trainer.verify.roll import Roll, Seen
from remote_gpu_trainer.verify.shards import NUMBERED

SIDE_BYTES_MOST = 1 << 20
WAY_OUT = (
    "save its state_dict() as safetensors and copy that, or the person accepts it by its bytes (accept_unloaded in "
    "policy.toml)"
)
RESTRICTED = "restricted-read"
"""Code of the note of our own reader: every size and checksum holds, and only a real load is wanting."""
FLOATS = "non_finite_share"
"""The fact that is there exactly when a loader saw floating-point numbers."""


def settle(roll: Roll, accepted: Sequence[str]) -> None:
    """Lower the refusal of a pickle to a warning where its bytes are proof enough.

    It stays at DIGEST in any case. The settings of a Trainer have to be small, hold no floating-point number and lie
    beside the model: in the same folder, in a file that loads, or that the restricted reader found whole where no sound
    torch is installed; a model in parts counts only with its index and all its parts. ``accepted`` are globs of files
    that the person wants no load of. A pickle that asks for what only an attack needs is ``unsafe-pickle``: an error
    in any case. ``shards.join`` has gone over the files before.
    """
    refused = [at for at, item in roll.asked() if any(one.code == FOREIGN_CLASSES for one in item.proof.findings)]
    models = _models(roll) if refused else {}
    for at in refused:
        item = roll[at]
        roll.replace(at, _lowered(item, accepted, models.get(folder_of(item.proof.path))))


def _models(roll: Roll) -> dict[str, str]:
    """By folder, a file that is proven to hold the model."""
    broken = {
        posixpath.join(folder_of(item.proof.path), part)
        for _, item in roll.asked()
        if item.shards and _broken(item.proof)
        for part in item.shards
    }
    found: dict[str, str] = {}
    for _, item in roll.asked():
        path = item.proof.path
        alone = NUMBERED.fullmatch(path) is not None and not item.part
        if _holds_numbers(item) and holds_model(path) and path not in broken and not alone:
            found.setdefault(folder_of(path), path)
    return found


def _holds_numbers(item: Seen) -> bool:
    proof = item.proof
    whole = proof.level >= VerificationLevel.LOADS or any(finding.code == RESTRICTED for finding in proof.findings)
    return item.kind in WEIGHTS and whole and not _broken(proof) and FLOATS in proof.facts


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


def _lowered(item: Seen, accepted: Sequence[str], model: str | None) -> Seen:
    proof = item.proof
    severity = Severity.WARNING
    if any(matches(proof.path, glob) for glob in accepted):
        why = "the policy accepts its bytes as proof enough"
    elif is_settings(proof.path) and model and proof.size <= SIDE_BYTES_MOST and FLOATS not in proof.facts:
        why = f"it holds settings and no weights, and {model} beside it is whole"
    else:
        severity, why = Severity.ERROR, WAY_OUT
        if is_settings(proof.path) and not model:
            why = f"no file beside it is proven to hold the model; {WAY_OUT}"
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
