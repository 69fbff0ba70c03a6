"""Rules over files on their way to the box, and over room for them."""

from posixpath import isabs, normpath

from remote_gpu_trainer.domain.units import show_bytes
from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import PushFacts, StartFacts

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/root/.ssh")
LEAST_INODES = 10_000


def _into_root(facts: PushFacts) -> Trip | None:
    given = facts.destination
    where = normpath(given)
    where = "/" + where.lstrip("/") if where.startswith("//") else where
    if not isabs(given) or ".." in given.split("/"):
        return Trip("the destination is not an absolute path without '..'", fix="name a folder such as /workspace/run")
    if where in ("/", "/root") or any(where == top or where.startswith(f"{top}/") for top in _SYSTEM):
        return Trip(f"the destination is {where[:80]}")
    return None


VAST19 = Rule(
    id="VAST19",
    name="copy-into-system-root",
    severity=Severity.BLOCK,
    symptom="After a copy the box refuses SSH, or its tools are gone.",
    cause="A copy into / or /root changes owner and mode of those folders, and overwrites files of the image and SSH.",
    example="Pushing a project to /root makes /root writable for others, and sshd refuses every key.",
    fix="copy into a folder of the job's own, such as /workspace/run",
    unless="the destination is a folder below, such as /workspace/run",
    source="official CLI 1.9.1 and docs, 2026-08",
    waivable=False,
    checks=on(_into_root, PushFacts),
)


def _windows_ends(facts: PushFacts) -> Trip | None:
    bad = [file.path for file in facts.files if file.crlf_script]
    return Trip(f"{len(bad)} scripts have Windows line ends: {bad[0][:80]}") if bad else None


U1 = Rule(
    id="U1",
    name="script-with-windows-line-ends",
    severity=Severity.WARN,
    symptom="A script fails with '\\r: command not found' or 'bad interpreter'.",
    cause="A file edited or checked out on Windows ends its lines in CR LF, and the shell takes the CR as text.",
    example="#!/bin/bash\\r is looked for as an interpreter named 'bash\\r'.",
    fix="convert it to LF before the push, and set 'eol=lf' in .gitattributes",
    unless="the scripts end their lines in LF",
    source="POSIX shells; general",
    checks=on(_windows_ends, PushFacts),
)


def _no_room(facts: PushFacts) -> Trip | None:
    if facts.free_bytes is None or facts.size <= facts.free_bytes:
        return None
    return Trip(
        f"{show_bytes(facts.size)} are to be pushed and {show_bytes(facts.free_bytes)} are free", Severity.BLOCK
    )


def _no_room_to_save(facts: StartFacts) -> Trip | None:
    free = facts.box.free_bytes if facts.box else None
    if free is None or facts.checkpoint_bytes is None:
        return None
    need = facts.checkpoint_bytes * ((facts.kept_checkpoints or 1) + 1)
    if need <= free:
        return None
    return Trip(
        f"checkpoints need {show_bytes(need)} (one is written beside those kept); {show_bytes(free)} are free",
        fix=f"prune {facts.platform.scratch}, or keep fewer checkpoints; the best and the latest stay",
    )


U6 = Rule(
    id="U6",
    name="disk-bytes-run-out",
    severity=Severity.ACKNOWLEDGE,
    symptom="'No space left on device', or a checkpoint that is cut off.",
    cause="Image layers, the hub's cache, data, logs and every checkpoint share one disk.",
    example="The tenth 6 GB checkpoint meets a disk with 4 GB left, and the write that fails is the newest one.",
    fix="du -xh --max-depth=2 / | sort -h | tail shows where it went; prune periodic checkpoints, move the cache to "
    "the data disk, keep the best and the latest",
    unless="what is free holds the push and one checkpoint more than are kept",
    source="general; seen on rented hosts, 2026-06",
    checks=(*on(_no_room, PushFacts), *on(_no_room_to_save, StartFacts)),
)


def _too_many_files(facts: PushFacts) -> Trip | None:
    if facts.free_inodes is None or facts.count <= facts.free_inodes:
        return None
    return Trip(f"{facts.count:,} files are to be pushed and {facts.free_inodes:,} inodes are free", Severity.BLOCK)


def _few_inodes(facts: StartFacts) -> Trip | None:
    free = facts.box.free_inodes if facts.box else None
    return Trip(f"{free:,} inodes are free") if free is not None and free < LEAST_INODES else None


U7 = Rule(
    id="U7",
    name="inodes-run-out",
    severity=Severity.WARN,
    symptom="'No space left on device' while df -h shows gigabytes free.",
    cause="Each file takes an inode, and a filesystem has a fixed number of them; on rented hosts it is undocumented.",
    example="Three million thumbnails unpacked into a folder: df -i says 100 %.",
    fix="df -i before unpacking; keep small files in tar shards, LMDB or Parquet and read from there",
    unless="df -i shows room for the files",
    source="general; seen on rented hosts, 2026-06",
    checks=(*on(_too_many_files, PushFacts), *on(_few_inodes, StartFacts)),
)
