"""A program of its own that brings a copy into a bucket or back, tells how much memory it took, or is killed."""

import os
import resource
import signal
import sys
from pathlib import Path

import anyio

from remote_gpu_trainer.domain.artifacts import CopyReceipt
from remote_gpu_trainer.domain.ids import CopyId
from remote_gpu_trainer.errors import TransferError
from remote_gpu_trainer.storage import BucketUrl, S3Store
from remote_gpu_trainer.transfer.limits import Progress
from tests.unit.database.builders import receipt_of
from tests.unit.storage.conftest import LIMITS, URL, buckets, quick

WHOLE = 1 << 40
"""No file has so many bytes: it is sent whole, in parts as long as a person's."""


def real(url: str) -> S3Store:
    return S3Store(BucketUrl.parse(url))


async def main(what: str, home: Path, folder: Path, most: int) -> None:
    """Send until more than so many bytes are there, and die without a chance to tidy up; or fetch, into files of no
    more than so many bytes, and tell what happened.
    """

    def tell(progress: Progress) -> None:
        if progress.bytes_done > most:
            os.kill(os.getpid(), signal.SIGKILL)

    quick(URL)  # importing the client takes more memory than anything below
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if what == "send":
        await buckets(home, open_store=quick if most < WHOLE else real).store(receipt_of(folder), URL, tell)
    else:
        receipt = CopyReceipt.model_validate_json((home / "receipt.json").read_bytes())
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            await buckets(home).restore(receipt, folder, LIMITS, CopyId("copy-2"), None)
        except TransferError as bad:
            os.write(1, str(bad).encode())
            return
    os.write(1, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
