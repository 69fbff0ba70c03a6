"""A program of its own that brings a copy into a bucket, tells how much memory it took, or is killed in the middle."""

import os
import resource
import signal
import sys
from pathlib import Path

import anyio

from remote_gpu_trainer.transfer.limits import Progress
from tests.unit.storage.conftest import URL, buckets, receipt_of


async def main(home: Path, folder: Path, most: int) -> None:
    """Send until more than so many bytes are there, and die without a chance to tidy up."""

    def tell(progress: Progress) -> None:
        if progress.bytes_done > most:
            os.kill(os.getpid(), signal.SIGKILL)

    receipt = receipt_of(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await buckets(home).store(receipt, URL, tell)
    os.write(1, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
