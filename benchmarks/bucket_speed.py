"""One large object out of a bucket and into one, against plain boto3 and against one connection, in the same run.

Run: ``python -m benchmarks.bucket_speed [--mib 256] [--rtt-ms 100] [--rate 125e6] [--window 4194304] [--rounds 3]``; it
takes about three minutes. Writes ``benchmarks/results/bucket_speed.json``.

The store is moto over HTTP, in a process of its own behind a proxy that gives the link a round trip and a rate. Once
the link alone holds a connection back, and once each connection also has a window: TCP on Linux keeps about 4 MiB on
their way as it comes, which is 40 MB/s at 100 ms. What is read comes from a file in the store's process, in parts and
ranges as Amazon gives them: moto copies the whole object for each range. Each way runs in a process of its own, and
its time begins when the client is loaded. Ours proves the bytes by their hash and brings them to the disk; boto3's
``download_fileobj`` and ``upload_fileobj`` do neither, with their defaults of 10 threads and parts of 8 MiB. The single
connection is what a large object had before: the same reader with one range.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import boto3

from benchmarks.copy_speed import machine, started
from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.artifacts import (
    BucketCopy,
    BucketObject,
    CopyReceipt,
    EntryKind,
    Manifest,
    ManifestEntry,
    Route,
)
from remote_gpu_trainer.domain.ids import CopyId, InstanceId, LeaseId
from remote_gpu_trainer.services.buckets import Buckets
from remote_gpu_trainer.storage import BucketUrl, NoteFolder, S3Store
from remote_gpu_trainer.storage.parts import as_base64
from remote_gpu_trainer.transfer import CopyLimits
from remote_gpu_trainer.transfer.halffile import HalfFile

HERE = Path(__file__).resolve().parent
BUCKET, NAME, PART = "results", "model.bin", 16 << 20
GET, PUT = f"s3://{BUCKET}/kept", f"s3://{BUCKET}/sent"
BLOCK = 256 << 10
LIMITS = CopyLimits(max_bytes=1 << 40, max_files=10, max_depth=8, keep_free_bytes=0)


class KeptObject:
    """The object that is read, as Amazon gives it: whole, by range, or by part. All else is moto's."""

    def __init__(self, app: Any, file: Path) -> None:
        self._app, self._fd, self._size = app, os.open(file, os.O_RDONLY), file.stat().st_size
        parts = [self._part(at) for at in range(0, self._size, PART)]
        joined = hashlib.md5(b"".join(md5 for md5, _ in parts), usedforsecurity=False).hexdigest()
        self.etag, self._sums = f'"{joined}-{len(parts)}"', [sha256 for _, sha256 in parts]

    def _part(self, at: int) -> tuple[bytes, str]:
        data = os.pread(self._fd, PART, at)
        return hashlib.md5(data, usedforsecurity=False).digest(), hashlib.sha256(data).hexdigest()

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        if environ["PATH_INFO"] != f"/{BUCKET}/kept/{NAME}":
            return self._app(environ, start)
        query, wanted = str(environ.get("QUERY_STRING")), environ.get("HTTP_RANGE")
        at, end, headers = 0, self._size, [("ETag", self.etag), ("Accept-Ranges", "bytes")]
        if "partNumber=" in query:
            number = int(query.split("partNumber=")[1].split("&")[0])
            at, end = (number - 1) * PART, min(number * PART, self._size)
            headers.append(("x-amz-checksum-sha256", as_base64(self._sums[number - 1])))
        elif wanted:
            low, _, high = str(wanted).removeprefix("bytes=").partition("-")
            at, end = int(low), min(int(high) + 1 if high else self._size, self._size)
        if (at, end) != (0, self._size):
            headers.append(("Content-Range", f"bytes {at}-{end - 1}/{self._size}"))
        start("206 Partial Content" if len(headers) > 2 else "200 OK", [*headers, ("Content-Length", str(end - at))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self._blocks(at, end)

    def _blocks(self, at: int, end: int) -> Iterator[bytes]:
        while at < end:
            yield (data := os.pread(self._fd, min(BLOCK, end - at), at))
            at += len(data)


def serve(file: Path) -> None:
    """Run the store, and print its port and the ETag of what it keeps."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """A line for each request would cost what is measured."""

    app = KeptObject(DomainDispatcherApplication(create_backend_app), file)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(json.dumps([server.port, app.etag]), flush=True)
    server.serve_forever()


def store(url: str) -> S3Store:
    """The store as a person has it."""
    return S3Store(BucketUrl.parse(url), part=PART)


def receipt(folder: Path, entry: ManifestEntry, etag: str | None) -> CopyReceipt:
    """Of one file that is at home, or in the bucket."""
    now = datetime.now(UTC)
    kept = None
    if etag is not None:
        one = BucketObject(path=NAME, size=entry.size, etag=etag, proven_by="stored-checksum")
        kept = BucketCopy(url=GET, objects=(one,), bytes_stored=0, warnings=())
    return CopyReceipt(
        copy_id=CopyId("copy-1"), lease=LeaseId("speed-k3vq7m"), instance_id=InstanceId(1), roots=("/workspace/out",),
        destination=str(folder), route=Route.DIRECT_SSH, route_reason="benchmark",
        manifest=Manifest(root="/workspace/out", entries=(entry,)), skipped=(), not_copied=(), bytes_transferred=0,
        started_at=now, finished_at=now, cost=None, bucket=kept,
    )  # fmt: skip


async def by_parts(folder: Path, entry: ManifestEntry, etag: str) -> None:
    """Ours, out of the bucket."""
    buckets = Buckets(store, NoteFolder(folder / "uploads"), SystemClock())
    await buckets.restore(receipt(folder, entry, etag), folder / "back", LIMITS, CopyId("copy-2"), None)


async def by_one_connection(folder: Path, entry: ManifestEntry, etag: str) -> None:
    """As it was before: one range, hashed as it comes, and synced."""
    one = BucketObject(path=NAME, size=entry.size, etag=etag, proven_by="stored-checksum")
    fd = os.open(folder / "back", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    file = HalfFile(fd, folder, entry.size, entry.size, lambda length: None)
    await store(GET).fetch(one, at=0, end=entry.size, sink=file.stretches[0].take)
    assert await anyio.to_thread.run_sync(file.sha256) == entry.sha256
    await anyio.to_thread.run_sync(file.sync)
    os.close(fd)


async def by_boto(folder: Path, entry: ManifestEntry, etag: str) -> None:
    """Plain boto3, out of the bucket."""
    with (folder / "back").open("wb") as file:
        cast(Any, boto3).client("s3").download_fileobj(BUCKET, f"kept/{NAME}", file)


async def up(folder: Path, entry: ManifestEntry, etag: str) -> None:
    """Ours, into the bucket: hashed before, and proven there afterwards."""
    buckets = Buckets(store, NoteFolder(folder / "uploads"), SystemClock())
    found = (await buckets.store(receipt(folder.parent / "source", entry, None), f"{PUT}/{folder.name}", None)).bucket
    assert found and found.bytes_stored == entry.size


async def up_by_boto(folder: Path, entry: ManifestEntry, etag: str) -> None:
    """Plain boto3, into the bucket."""
    with (folder.parent / "source" / NAME).open("rb") as file:
        cast(Any, boto3).client("s3").upload_fileobj(file, BUCKET, f"sent/{folder.name}")


WAYS: dict[str, Callable[[Path, ManifestEntry, str], Any]] = {
    "ours": by_parts,
    "one_connection": by_one_connection,
    "boto3_download_fileobj": by_boto,
    "ours_up": up,
    "boto3_upload_fileobj": up_by_boto,
}


def go(way: str, folder: Path, etag: str) -> dict[str, float]:
    """One way, in this process."""
    entry = ManifestEntry.model_validate_json((folder.parent / "entry.json").read_bytes())
    cast(Any, boto3).client("s3")  # loading it is nobody's merit
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    anyio.run(WAYS[way], folder, entry, etag)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": after.ru_maxrss * 1024}


@contextmanager
def linked(port: int, o: argparse.Namespace, window: int | None) -> Generator[int]:
    """A port that leads to the store over the link."""
    more = [] if window is None else ["--window", str(window)]
    link = [sys.executable, str(HERE / "linkproxy.py"), str(port), str(o.rtt_ms / 1e3), str(o.rate), *more]
    with started(link, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield int(process.stdout.readline())


def measure(o: argparse.Namespace, folder: Path, port: int, etag: str) -> dict[str, Any]:
    """All ways by turns over one link."""
    environment = {
        **os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }  # fmt: skip
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(o.rounds):
        for way, rows in found.items():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                command = [sys.executable, "-m", "benchmarks.bucket_speed", "--way", way, scratch, etag]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                rows.append(json.loads(done.stdout))
            print(way, rows[-1], file=sys.stderr, flush=True)
    size = o.mib << 20
    seconds = {way: statistics.median(row["seconds"] for row in rows) for way, rows in found.items()}
    return {
        "median_seconds": {way: round(s, 3) for way, s in seconds.items()},
        "least_and_most_seconds": {
            way: [round(pick(row["seconds"] for row in rows), 3) for pick in (min, max)] for way, rows in found.items()
        },
        "mb_per_s": {way: round(size / 1e6 / s, 1) for way, s in seconds.items()},
        "share_of_link": round(size / seconds["ours"] / o.rate, 3),
        "times_faster_than": {
            "one_connection": round(seconds["one_connection"] / seconds["ours"], 2),
            "boto3_download_fileobj": round(seconds["boto3_download_fileobj"] / seconds["ours"], 2),
            "boto3_upload_fileobj": round(seconds["boto3_upload_fileobj"] / seconds["ours_up"], 2),
        },
        "cpu_seconds": {
            way: round(statistics.median(row["cpu_seconds"] for row in rows), 2) for way, rows in found.items()
        },
        "peak_memory_mb": {way: round(max(row["peak_bytes"] for row in rows) / 1e6, 1) for way, rows in found.items()},
    }


def main() -> None:
    """Measure, print, write."""
    ask = argparse.ArgumentParser()
    ask.add_argument("--mib", type=int, default=256)
    ask.add_argument("--rtt-ms", type=float, default=100)
    ask.add_argument("--rate", type=float, default=125e6)
    ask.add_argument("--window", type=int, default=4 << 20)
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--scratch", type=Path, default=None)
    ask.add_argument("--serve", type=Path)
    ask.add_argument("--way", nargs=3, metavar=("NAME", "FOLDER", "ETAG"))
    o = ask.parse_args()
    if o.serve:
        serve(o.serve)
    elif o.way:
        print(json.dumps(go(o.way[0], Path(o.way[1]), o.way[2])))
    else:
        compare(o)


def compare(o: argparse.Namespace) -> None:
    """The parent's part."""
    before = machine()
    with tempfile.TemporaryDirectory(dir=o.scratch) as name:
        folder = Path(name)
        file = folder / "source" / NAME
        file.parent.mkdir()
        with file.open("wb") as out:
            for _ in range(o.mib):
                out.write(os.urandom(1 << 20))
        with file.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        seen = file.stat()
        entry = ManifestEntry(
            path=NAME, kind=EntryKind.FILE, size=seen.st_size, mtime_ns=seen.st_mtime_ns, sha256=digest
        )
        (folder / "entry.json").write_text(entry.model_dump_json())
        links: dict[str, Any] = {}
        for label, window in (("only_the_link", None), ("a_window_for_each_connection", o.window)):
            served = [sys.executable, "-m", "benchmarks.bucket_speed", "--serve", str(file)]
            with started(served, stdout=subprocess.PIPE) as process:
                assert process.stdout
                port, etag = json.loads(process.stdout.readline())
                cast(Any, boto3).client(
                    "s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="testing",
                    aws_secret_access_key="testing", region_name="us-east-1",  # noqa: S106 - moto's own
                ).create_bucket(Bucket=BUCKET)  # fmt: skip
                with linked(port, o, window) as near:
                    links[label] = {"window_bytes": window, **measure(o, folder, near, etag)}
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "link": {"round_trip_ms": o.rtt_ms, "bytes_per_s": o.rate},
        "object_bytes": o.mib << 20,
        "rounds": o.rounds,
        "links": links,
    }
    print(json.dumps(result, indent=2))
    (HERE / "results" / "bucket_speed.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
