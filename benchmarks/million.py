"""A tree of a million small files: the memory and time of the processes that copy and prove it, stage by stage.

Run as root: ``python -m benchmarks.million [--files 1000000] [--scratch /dev/shm]``; a million takes about 20 minutes
and, on a file system in memory, 6 GB. Writes ``benchmarks/results/million.json``. The goal: under 300 MB at the peak
for a million files, everything that ``copy_out`` and ``verify_local`` do in their own process included.

The far side is a real sshd, and the tree lies in 1,000 folders; each tenth file holds 100 bytes, the others none, and
each ninety-ninth is a JSON that a loader reads. One process does what ``copy_out`` does, one stage after the other: it
lists the far side, copies, lists again, marks what is proven, keeps the receipt in a journal on the disk, and makes the
tool's answer. Then it does what ``verify_local`` does: it reads the receipt back, proves every file, where nothing is
hashed that the copy has just proven, and keeps the report. Last, it copies once more, where nothing is left to send.
Another process proves the same copy as after a restart, where all is hashed, and reads its report back. The kernel's
peak is reset before each stage; that of the workers that load files is told beside it.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

import remote_gpu_trainer.app as server
from benchmarks.copy_speed import LEASE, machine, sshd
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import CopyReceipt, Expectations, Route, VerificationReport
from remote_gpu_trainer.domain.ids import CopyId, InstanceId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.domain.policy import Policy
from remote_gpu_trainer.journal.store import SqliteJournal
from remote_gpu_trainer.services.farside import limits_of, manifest_script, read_far_side
from remote_gpu_trainer.ssh import ParamikoConnector, ParamikoHost
from remote_gpu_trainer.tools import answers
from remote_gpu_trainer.transfer import pull
from remote_gpu_trainer.verify.fresh import FreshCopies
from remote_gpu_trainer.verify.run import verify

HERE = Path(__file__).resolve().parent
FOLDERS = 1000
EACH_JSON = 99
"""Of so many files one is a JSON: another number than of folders, so that they lie in all of them."""
POLICY = Policy(max_copy_files=2_000_000)
"""The programs of the server are loaded, as they are where a copy is made."""
LOADED = server.__name__


def write_tree(folder: Path, files: int) -> None:
    """So many files in 1,000 folders."""
    for number in range(FOLDERS):
        (folder / f"shard-{number:04d}").mkdir(parents=True)
    for number in range(files):
        ending = "bin" if number % EACH_JSON else "json"
        with open(f"{folder}/shard-{number % FOLDERS:04d}/sample-{number:07d}.{ending}", "wb") as out:
            if number % EACH_JSON == 0:
                out.write(b'{"loss": 0.5, "step": %78d}' % number)
            elif number % 10 == 0:
                out.write(b"%100d" % number)


class Stages:
    """Seconds, and the peak of resident memory, of each."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self._note("start", time.perf_counter())

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, and note what it took."""
        self._forget()
        began = time.perf_counter()
        done = await work()
        self._note(name, began)
        return done

    @staticmethod
    def _forget() -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def _note(self, name: str, began: float) -> None:
        seen = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", Path("/proc/self/status").read_text()))
        self.rows[name] = {
            "seconds": round(time.perf_counter() - began, 1),
            "peak_mb": round(int(seen["VmHWM"]) / 1e3, 1),
            "after_mb": round(int(seen["VmRSS"]) / 1e3, 1),
            "most_of_a_child_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, 1),
        }
        print(name, self.rows[name], file=sys.stderr, flush=True)


def kept_in(home: Path) -> list[Path]:
    """The files of the journal."""
    return list(home.glob("journal.db*"))


async def copy(home: Path, port: int, root: str, destination: Path) -> dict[str, Any]:
    """All that a copy does in its own process."""
    stages, clock = Stages(), SystemClock()
    connector = ParamikoConnector(home, clock=clock)

    async def connect() -> ParamikoHost:
        return await connector.connect(LEASE, [Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=port)])

    async def look() -> str:
        host = await connect()
        try:
            return (await read_far_side(host, [root], POLICY)).digest
        finally:
            await host.close()

    async def bring(copy_id: str) -> CopyReceipt:
        return await pull(
            connect,
            roots=[root],
            destination=destination,
            lease=LEASE,
            instance_id=InstanceId(1),
            route=Route.DIRECT_SSH,
            route_reason="benchmark",
            egress_usd_per_gb=None,
            limits=limits_of(POLICY),
            clock=clock,
            progress=None,
            copy_id=CopyId(copy_id),
            manifest_script=manifest_script(),
        )

    before, fresh = await stages.run("list the far side", look), FreshCopies()
    receipt = await stages.run("copy", lambda: bring("copy-1"))
    assert await stages.run("list it again", look) == before
    with SqliteJournal(home / "journal.db", clock=clock) as journal:
        facts = await kept(stages, journal, fresh, receipt)
        del receipt
        await proven(stages, journal, fresh, facts, "verify right after the copy")
    again = await stages.run("copy once more", lambda: bring("copy-2"))
    assert again.bytes_transferred == 0
    return {
        **facts,
        "journal_mb": round(sum(one.stat().st_size for one in kept_in(home)) / 1e6, 1),
        "stages": stages.rows,
    }


async def kept(stages: Stages, journal: SqliteJournal, fresh: FreshCopies, receipt: CopyReceipt) -> dict[str, Any]:
    """The rest of what ``copy_out`` does, and what it brought."""

    async def remember() -> None:
        fresh.remember(receipt)

    async def keep() -> None:
        journal.save_copy(receipt)

    async def answer() -> str:
        return answers.copied(receipt).model_dump_json()

    await stages.run("mark what is proven", remember)
    await stages.run("keep the receipt", keep)
    said = await stages.run("answer", answer)
    needed = max(row["peak_mb"] for row in stages.rows.values())
    assert not receipt.skipped, receipt.skipped[:3]
    return {
        "files": len(receipt.manifest.files),
        "bytes": receipt.manifest.size,
        "manifest_digest": receipt.manifest.digest,
        "answer_bytes": len(said),
        "copy_out_peak_mb": needed,
    }


async def proven(
    stages: Stages, journal: SqliteJournal, fresh: FreshCopies, facts: dict[str, Any], name: str
) -> VerificationReport:
    """What ``verify_local`` does in its own process."""

    async def read_back() -> CopyReceipt | None:
        return journal.copy(CopyId("copy-1"))

    kept = await stages.run("read the receipt back", read_back)
    assert len(kept.manifest.files) == facts["files"]

    async def prove() -> VerificationReport:
        return await verify(
            Path(kept.destination),
            manifest=kept.manifest,
            expect=Expectations(counts={"*.json": -(-facts["files"] // EACH_JSON)}, finite_metrics=("loss",)),
            copy_id=kept.copy_id,
            clock=SystemClock(),
            known=fresh.of(kept),
        )

    report: VerificationReport = await stages.run(name, prove)
    assert report.passed, (report.unmet[:3], report.missing[:3], report.errors[:3])

    async def keep() -> None:
        journal.save_verification(report)

    async def answer() -> str:
        return answers.proof(report).model_dump_json()

    await stages.run("keep the report", keep)
    await stages.run("answer with the report", answer)
    return report


async def prove_anew(home: Path, files: int) -> dict[str, Any]:
    """All that a proof does in a process that knows nothing of the copy."""
    stages = Stages()
    with SqliteJournal(home / "journal.db", clock=SystemClock()) as journal:
        report = await proven(stages, journal, FreshCopies(), {"files": files}, "verify, hashing all")
        del report

        async def read_back() -> VerificationReport | None:
            return journal.verification(CopyId("copy-1"))

        again = await stages.run("read the report back", read_back)
        assert len(again.files) == files
    return {"verify_local_peak_mb": max(row["peak_mb"] for row in stages.rows.values()), "stages": stages.rows}


def told(*arguments: str) -> dict[str, Any]:
    """What another process of this program found."""
    command = [sys.executable, "-m", "benchmarks.million", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--files", type=int, default=1_000_000)
    ask.add_argument("--scratch", type=Path, default=Path("/dev/shm"))  # noqa: S108 - a folder of one's own is made there
    ask.add_argument("--write", type=Path, default=HERE / "results" / "million.json")
    ask.add_argument("--ours", nargs=4, metavar=("HOME", "PORT", "ROOT", "DESTINATION"))
    ask.add_argument("--prove", nargs=2, metavar=("HOME", "FILES"))
    o = ask.parse_args()
    if o.prove:
        print(json.dumps(anyio.run(prove_anew, Path(o.prove[0]), int(o.prove[1]))))
        return
    if o.ours:
        home, port, root, destination = o.ours
        print(json.dumps(anyio.run(copy, Path(home), int(port), root, Path(destination))))
        return
    before = machine()
    with a_crowd(o.scratch, o.files) as (folder, port):
        found = told("--ours", str(folder / "home"), str(port), str(folder / "tree"), str(folder / "back"))
        found["in_another_process"] = told("--prove", str(folder / "home"), str(found["files"]))
    write_result(o.write, before, found)


@contextmanager
def a_crowd(scratch: Path, files: int) -> Generator[tuple[Path, int]]:
    """A folder with so many files in ``tree`` and our keys in ``home``, and the port of an sshd; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="million-", dir=scratch))
    try:
        write_tree(folder / "tree", files)
        public = ParamikoConnector(folder / "home", clock=SystemClock()).public_key()
        with sshd(folder, public) as port:
            yield folder, port
    finally:
        shutil.rmtree(folder)


def write_result(place: Path, before: dict[str, Any], found: dict[str, Any]) -> None:
    """Print what was found, with the machine as it was before, and keep it."""
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": before, **found}
    print(json.dumps(result, indent=2))
    place.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
