"""Rules over bringing results home and believing that they are."""

from remote_gpu_trainer.domain.artifacts import FOREIGN_CLASSES, Route, VerificationLevel
from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import CopyFacts, StopFacts, VerifyFacts


def _stopped_first(facts: StopFacts) -> Trip | None:
    if facts.results_home or facts.unsaved_bytes == 0:
        return None
    how_much = "an unknown amount" if facts.unsaved_bytes is None else show_bytes(facts.unsaved_bytes)
    return Trip(
        f"{how_much} on the box is not proven off it, and a stopped box may be unreadable",
        fix=f"copy_out while it runs, then stop: only what is {facts.platform.durable} "
        f"outlives {facts.platform.meter_stop_verb}",
    )


def _from_stopped(facts: CopyFacts) -> Trip | None:
    if facts.route is not Route.MACHINE_RSYNC:
        return None
    if not facts.far_rsync_told:
        return Trip(
            "the machine's rsync does not tell its version, so it may be older than the 3.5.0 that is asked for",
            fix="call resume_run and copy by SSH; the rescue believes only what is compared and hashed here, and the "
            "rsync here is a new one, but what an old one over there gets wrong nobody knows",
        )
    return Trip("the machine-level copy of a stopped instance is a rescue that may fail", Severity.WARN)


VAST33 = Rule(
    id="VAST33",
    name="copy-left-until-after-stop",
    severity=Severity.ACKNOWLEDGE,
    symptom="Copying from a stopped instance fails with 'Unknown module', and starting it fails because its GPU is "
    "taken.",
    cause="Reading a stopped disk is documented, through the machine's own rsync, and reported as failing; and a "
    "stopped instance may never get its GPU back (VAST3).",
    example="Stopped to save $0.40, then two days of waiting for the GPU that would let the results out.",
    fix="copy_out while it runs, then stop; use the stopped route only as a rescue",
    unless="the results are proven off the box, or nothing is on it",
    source="docs.vast.ai data-movement, 2026-06, against reports of others, 2026: conflict, the careful reading",
    checks=(*on(_stopped_first, StopFacts), *on(_from_stopped, CopyFacts)),
)


def _cloud_connection(facts: CopyFacts) -> Trip | None:
    if not facts.cloud_connection:
        return None
    return Trip("the account's stored cloud credentials would lie on the host while the sync runs")


VAST40 = Rule(
    id="VAST40",
    name="cloud-credentials-on-host",
    severity=Severity.ACKNOWLEDGE,
    symptom="A stranger's machine has held keys to a whole bucket or drive.",
    cause="The platform's cloud sync puts the connection's full credentials on the host while it runs. It works "
    "while the instance is stopped, which is its worth.",
    example="A connection with rights on every bucket of a company, used to save one checkpoint.",
    fix="make a connection that can only write below one prefix, or hand the box presigned URLs for single objects",
    unless="the copy does not use a stored cloud connection",
    source="OpenAPI (commands/rclone) 2026-08; docs.vast.ai data-movement, 2026-06",
    checks=on(_cloud_connection, CopyFacts),
)


def _missing(facts: VerifyFacts) -> Trip | None:
    report = facts.report
    if report.missing:
        return Trip(f"{len(report.missing)} files of the manifest are not here: {report.missing[0][:80]}")
    return None if report.files else Trip("nothing was found to verify")


U3 = Rule(
    id="U3",
    name="silent-sync-believed",
    severity=Severity.WARN,
    symptom="A sync tool reported success, and files are missing.",
    cause="Sync tools leave out what a filter excludes, what vanished or could not be read, and some still end with 0.",
    example="A bucket sync skips files with names that it cannot encode.",
    fix="compare against a manifest of the far side by name, size and digest; copy_out and verify_local do",
    unless="every file of the manifest is present with its digest",
    source="general",
    checks=on(_missing, VerifyFacts),
)


def _not_loaded(facts: VerifyFacts) -> Trip | None:
    files = facts.report.packed
    unloaded = sum(files.level(at) < VerificationLevel.LOADS for at in range(len(files)))
    return Trip(f"{unloaded} of {len(files)} files were not loaded by anything") if unloaded else None


U9 = Rule(
    id="U9",
    name="log-line-taken-for-proof",
    severity=Severity.WARN,
    symptom="The log says 'saved', and the file is empty, cut off, or full of NaN.",
    cause="A log line says what a program meant to do, and a digest says that bytes arrived as they were; only loading "
    "says that they are a model.",
    example="'checkpoint saved' stands above a disk that was full.",
    fix="load each artifact at home and check step, keys and finite values: verify_local with expectations",
    unless="every file that matters reached LOADS",
    source="general",
    checks=on(_not_loaded, VerifyFacts),
)


def _under_writer(facts: CopyFacts) -> Trip | None:
    if not facts.open_for_writing:
        return None
    return Trip(f"{len(facts.open_for_writing)} files under the roots are open for writing")


U16 = Rule(
    id="U16",
    name="copy-under-a-writer",
    severity=Severity.WARN,
    symptom="A copied file matches neither its old nor its new state.",
    cause="A file that is written while it is read gives a mix of both.",
    example="The last checkpoint was copied during its save and does not load.",
    fix="let the job end, or copy finished files only; a copy for a teardown comes after the trainer has ended",
    unless="no process writes below the roots",
    source="general",
    checks=on(_under_writer, CopyFacts),
)


def _pickle(facts: VerifyFacts) -> Trip | None:
    codes = {"unsafe-pickle", FOREIGN_CLASSES}
    bad = [proof.path for proof in facts.report.files if any(f.code in codes for f in proof.findings)]
    return Trip(f"{len(bad)} files would run code when loaded: {bad[0][:80]}") if bad else None


U17 = Rule(
    id="U17",
    name="foreign-pickle-loaded",
    severity=Severity.WARN,
    symptom="Loading a checkpoint runs something else.",
    cause="A pickle is a program; one from a machine that others control may be theirs.",
    example="torch.load without weights_only on a file that the host replaced.",
    fix="save weights as safetensors; load others with weights_only only, never with a fallback",
    unless="the files are safetensors or plain tensors",
    source="Python and PyTorch documentation",
    checks=on(_pickle, VerifyFacts),
)
