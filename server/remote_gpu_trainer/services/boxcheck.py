"""The boot check: what a box says of its GPUs, CUDA, memory and room, read before a job or a large push."""

import json
import math
import re
from collections.abc import Sequence
from typing import cast

from remote_gpu_trainer import bundled
from remote_gpu_trainer.errors import RgtError
from remote_gpu_trainer.ports import RemoteHost
from remote_gpu_trainer.rules.facts import BoxReport
from remote_gpu_trainer.services.layout import Layout
from remote_gpu_trainer.transfer.farpython import IN_PATH

BOX_CHECKED = "box.checked"
"""Event: the last report of a box."""
SCRIPT = "box_check.py"
CHECK_S = 120.0
_MOST_BYTES = 16 * 1024
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
NUMBERS = ("gpus", "driver_cuda", "framework_cuda", "free_bytes", "free_inodes", "memory_bytes", "vram_used_bytes")
_WHOLE = frozenset(NUMBERS) - {"driver_cuda", "framework_cuda"}


async def check_box(host: RemoteHost, layout: Layout, *, folder: str, argv: Sequence[str]) -> BoxReport | None:
    """Everything, through the Python that the job names. None when the box does not answer with a report."""
    python = ["--python", argv[0]] if argv and _PYTHON.fullmatch(argv[0]) else []
    return await _ask(host, layout, ["--room", folder, *python])


async def room(host: RemoteHost, layout: Layout, folder: str) -> tuple[int | None, int | None]:
    """Bytes and inodes free where a folder is or will be; None where the box does not say."""
    report = await _ask(host, layout, ["--room", folder, "--room-only"])
    return (None, None) if report is None else (report.free_bytes, report.free_inodes)


async def _ask(host: RemoteHost, layout: Layout, words: list[str]) -> BoxReport | None:
    place = f"{layout.state}/{SCRIPT}"
    try:
        await host.put(bundled.read_bytes(f"scripts/{SCRIPT}"), place, mode=0o755)
        answer = await host.run(["sh", "-c", IN_PATH, "sh", place, *words], timeout_s=CHECK_S, max_output=_MOST_BYTES)
    except RgtError:
        return None  # an unanswered check is a finding of its own (U31), not a failure of the call
    return parse_report(answer.stdout) if answer.exit_status == 0 else None


def parse_report(content: bytes) -> BoxReport | None:
    """Read the check's line. It comes from a stranger: only finite numbers in range and yes or no get through."""
    try:
        raw: object = json.loads(content.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    row = cast("dict[str, object]", raw)
    sees = row.get("framework_sees_gpu")
    numbers = {name: _number(row.get(name), whole=name in _WHOLE) for name in NUMBERS}
    return BoxReport.model_validate({**numbers, "framework_sees_gpu": sees if isinstance(sees, bool) else None})


def _number(value: object, *, whole: bool) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 <= value < 1e18:
        return None
    return int(value) if whole else float(value)
