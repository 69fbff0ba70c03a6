"""Fuzz what a stranger's bytes reach first, guided by coverage (atheris).

Run: ``python -m benchmarks.fuzz.run [--runs N] [TARGET ...]``, or ``make fuzz``. Each target runs in a process of its
own, from honest seeds, a bounded number of times; a finding is written below ``benchmarks/fuzz/found`` and ends it.
"""

import argparse
import importlib
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

NAMES = (
    "manifest", "stream", "pickle", "json", "gguf", "onnx", "safetensors", "checkpoint", "zip", "tar", "png", "npy",
)  # fmt: skip
INSTRUMENTED = ("remote_gpu_trainer.transfer", "remote_gpu_trainer.verify", "pickletools")
FOUND = Path(__file__).with_name("found")
LONGEST = 4096
SECONDS_MOST = 10
"""For one input; a longer one is a finding."""
MEMORY_MOST_MB = 1024


def fuzz(name: str, runs: int, seed: int) -> None:
    """Run one target; ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(
        include=["remote_gpu_trainer.transfer", "remote_gpu_trainer.verify", "pickletools"]
    ):
        targets: Any = importlib.import_module("benchmarks.fuzz.targets")
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(targets.seeds(name)):
            Path(corpus, f"seed-{number}").write_bytes(data)
        options = [
            f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST}", f"-timeout={SECONDS_MOST}",
            f"-rss_limit_mb={MEMORY_MOST_MB}", f"-artifact_prefix={FOUND}/{name}-", "-print_final_stats=1",
            "-verbosity=0",
        ]  # fmt: skip
        atheris.Setup([name, *options, corpus], targets.TARGETS[name])
        atheris.Fuzz()


def main() -> None:
    """Run the targets one after the other; exit status 1 when one of them found something."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("targets", nargs="*", choices=[*NAMES, []], default=[])
    words.add_argument("--runs", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    start = multiprocessing.get_context("spawn")
    failed: list[str] = []
    for name in asked.targets or NAMES:
        process = start.Process(target=fuzz, args=(name, asked.runs, asked.seed))
        process.start()
        process.join()
        print(f"{name}: {'nothing found' if process.exitcode == 0 else f'ended with {process.exitcode}'}", flush=True)
        if process.exitcode:
            failed.append(name)
    if failed:
        sys.exit(f"{', '.join(failed)}: see {FOUND}")


if __name__ == "__main__":
    main()
