"""Fill the folder that the host lends to a box: the first process, the tools that report the rented machine."""

import json
import shlex
import sys
from pathlib import Path

from remote_gpu_trainer.emulator.box import lent as lent_programs
from remote_gpu_trainer.emulator.box.isolation import Walls
from remote_gpu_trainer.emulator.box.spec import BoxSpec

PROGRAMS = Path(lent_programs.__path__[0])
TOOLS = {"nvidia-smi": "nvidia_smi.py", "df": "df.py"}


def lend(folder: Path, spec: BoxSpec, walls: Walls, used_bytes: int) -> None:
    """Write everything anew: the box may have come from an earlier version of this program."""
    for name in ("bin", "site"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("pid1.py", *TOOLS.values()):
        (folder / name).write_text((PROGRAMS / name).read_text())
    facts = {
        "instance_id": spec.instance_id,
        "disk_bytes": spec.disk_bytes,
        "gpu_name": spec.gpu_name,
        "num_gpus": spec.num_gpus,
        "gpu_ram_mib": spec.gpu_ram_mib,
        "driver_version": spec.driver_version,
        "cuda_version": spec.cuda_version,
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    tell_used(folder, used_bytes)
    for tool, program in TOOLS.items():
        _script(folder / "bin" / tool, ["-S", "-E", f"{walls.lent}/{program}"])
    if walls.paths is None:
        return
    (folder / "site/rgt_box_paths.py").write_text((PROGRAMS / "paths.py").read_text())
    (folder / "site/sitecustomize.py").write_text((PROGRAMS / "sitecustomize.py").read_text())
    (folder / "rgt_box_paths.py").write_text((PROGRAMS / "paths.py").read_text())
    (folder / "shell.py").write_text((PROGRAMS / "shell.py").read_text())
    for shell in ("sh", "bash"):
        if real := next((path for path in (Path("/bin", shell), Path("/usr/bin", shell)) if path.exists()), None):
            _script(folder / "bin" / shell, ["-S", "-E", f"{walls.lent}/shell.py", str(real)])


def tell_used(folder: Path, used_bytes: int) -> None:
    """Let the box's ``df`` know how much of its disk is in use."""
    fresh = folder / "used.new"
    fresh.write_text(str(used_bytes))
    fresh.replace(folder / "used")


def _script(path: Path, words: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n')
    path.chmod(0o755)
