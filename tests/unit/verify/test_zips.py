"""Zips as honest writers write them: each says things twice in its own way, and all of them load."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from remote_gpu_trainer.domain.artifacts import VerificationLevel
from tests.unit.verify.test_run import codes, proofs, run


class Pipe(io.RawIOBase):
    """A stream that goes forward only, so that sizes are written behind the data."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object, /) -> int:
        """As of any stream."""
        return self._file.write(bytes(memoryview(data)))  # type: ignore[arg-type]  # any buffer; Python 3.11 has no name for one


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_what_was_written_to_a_file_and_to_a_pipe_with_large_and_small_heads_loads(tmp_path: Path, method: int) -> None:
    for name in ("file.zip", "pipe.zip"):
        with (tmp_path / name).open("wb") as file:
            with zipfile.ZipFile(Pipe(file) if name == "pipe.zip" else file, "w", method) as archive:
                archive.writestr("a.txt", "text")
                archive.writestr("empty", "")
                archive.writestr("\u00e9/\u00fc.txt", "x" * 1000)
                archive.writestr("folder/", "")
                with archive.open("large", "w", force_zip64=True) as member:
                    member.write(b"abc")
    np.savez(tmp_path / "a.npz", a=np.ones(3), b=np.ones((2, 2)))
    np.savez_compressed(tmp_path / "b.npz", a=np.ones(3))
    found = proofs(run(tmp_path))
    assert {name: (proof.level, codes(proof)) for name, proof in found.items()} == {
        name: (VerificationLevel.LOADS, set[str]()) for name in ("file.zip", "pipe.zip", "a.npz", "b.npz")
    }
