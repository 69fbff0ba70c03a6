"""Parquet: by pyarrow, batch by batch in the confined process; without it only the file's frame is looked at."""

import importlib
import importlib.util
from typing import Any

from remote_gpu_trainer.verify import confine
from remote_gpu_trainer.verify.loaders.jsontext import tell_numbers
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

_MAGIC = b"PAR1"
BATCH_ROWS = 8192
RATIO_MOST = 100_000
"""Unpacked bytes per byte of the file, judged beyond UNPACKED_FREE; a column of one value packs very small."""
UNPACKED_FREE = 1 << 30
THRIFT_MOST = 64 << 20


def load(source: Source) -> Outcome:
    """Read every row of every column.

    Raises:
        BrokenArtifact: its frame or a page does not hold.
    """
    size = source.size
    if size < 12 or source.read(0, 4) != _MAGIC or source.read(size - 4, 4) not in (_MAGIC, b"PARE"):
        raise BrokenArtifact("truncated", "it does not begin and end as Parquet")
    footer = int.from_bytes(source.read(size - 8, 4), "little")
    if footer > size - 12:
        raise BrokenArtifact("lying-header", f"its footer claims {footer} bytes in a file of {size}")
    if importlib.util.find_spec("pyarrow") is None:
        outcome = Outcome(loaded=False)
        outcome.note("no-loader", "Parquet needs the extra 'parquet' (pyarrow); only its frame was looked at")
        return outcome
    with confine.importing():
        arrow: Any = importlib.import_module("pyarrow")
        compute: Any = importlib.import_module("pyarrow.compute")
        parquet: Any = importlib.import_module("pyarrow.parquet")
        types: Any = importlib.import_module("pyarrow.types")
    try:
        return _read(source, parquet, compute, types)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BrokenArtifact("corrupt", f"it cannot be read: {str(error)[:120]}") from error


def _read(source: Source, parquet: Any, compute: Any, types: Any) -> Outcome:
    outcome = Outcome()
    rows = unpacked = odd = 0
    last: Any = None
    with (
        source.stream() as stream,
        parquet.ParquetFile(
            stream,
            pre_buffer=False,
            page_checksum_verification=True,
            thrift_string_size_limit=THRIFT_MOST,
            thrift_container_size_limit=1_000_000,
        ) as file,
    ):
        promised: int = file.metadata.num_rows
        names: list[str] = list(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            batch.validate(full=True)
            rows += batch.num_rows
            unpacked += batch.nbytes
            if unpacked > UNPACKED_FREE and unpacked > RATIO_MOST * source.size:
                raise BrokenArtifact("bomb", f"{source.size} bytes unpack to more than {unpacked}")
            for column in batch.columns:
                if types.is_floating(column.type):
                    odd += len(column) - column.null_count - (compute.sum(compute.is_finite(column)).as_py() or 0)
            last = batch if batch.num_rows else last
        groups: int = file.metadata.num_row_groups
    if rows != promised:
        raise BrokenArtifact("truncated", f"it holds {rows} rows and promises {promised}")
    outcome.facts.update(rows=rows, columns=len(names), row_groups=groups, non_finite_values=odd)
    if last is None:
        outcome.warn("empty", "it holds no row")
    else:
        tell_numbers(_numbers(last, names), outcome)
    if odd and not outcome.findings:  # else the last row said so
        outcome.warn("non-finite", f"{odd} numbers are not finite")
    return outcome


def _numbers(batch: Any, names: list[str]) -> dict[str, float]:
    """The numbers of the last row."""
    found: dict[str, float] = {}
    for name, column in zip(names[:1000], batch.columns, strict=False):
        value: object = column[-1].as_py()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < len(name) <= 200:
            found[name] = float(value)
    return found
