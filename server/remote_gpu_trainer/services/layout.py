"""Where things lie on a box, by the profile: the data disk, our state, the job's code and results."""

import shlex
from dataclasses import dataclass

from remote_gpu_trainer.errors import ConfigError, UnsafePath
from remote_gpu_trainer.rules.platform import Platform

_STATE_LINE = "rgt_dir=/workspace/.rgt\n"
"""Line of ``scripts/onstart.sh`` that the profile's data disk replaces."""


@dataclass(frozen=True)
class Layout:
    """Paths on a box, absolute POSIX."""

    data: str
    """The data disk (``DATA_DIR``)."""

    @property
    def state(self) -> str:
        """What the runner and this program keep there."""
        return f"{self.data}/.rgt"

    @property
    def code(self) -> str:
        """Where a push lands and a job runs unless another folder is named."""
        return f"{self.data}/run"

    @property
    def results(self) -> str:
        """Where a job's results are looked for unless other folders are named."""
        return f"{self.data}/out"

    @property
    def volume(self) -> str:
        """Where a volume is mounted."""
        return f"{self.data}/volume"

    def demand_ours(self, path: str, what: str, effect: str) -> None:
        """Refuse a path that is not a folder below the data disk, or is in our state.

        Raises:
            UnsafePath: it is not.
        """
        inner = path.removeprefix(f"{self.data}/").split("/") if path.startswith(f"{self.data}/") else [""]
        if ".." in inner or inner[0] in ("", ".rgt") or "\x00" in path:
            raise UnsafePath(
                f"{what} {path[:120]!r} is not a folder below {self.data} (VAST10: only the data disk is ours to use)",
                next_step=f"name a folder such as {self.code}",
                effect=effect,
            )


def layout_of(platform: Platform) -> Layout:
    """The layout that a profile gives."""
    return Layout(platform.data_dir)


def boot_script(platform: Platform, template: str) -> str:
    """``scripts/onstart.sh`` for a platform: its data disk, and its proxy hook where it has one.

    Raises:
        ConfigError: the template is not the one that this program knows.
    """
    if template.count(_STATE_LINE) != 1:
        raise ConfigError("scripts/onstart.sh is not the one of this version", next_step="reinstall the package")
    hook = platform.overrides["PROXY_HOOK"]
    lines = [f"rgt_dir={shlex.quote(layout_of(platform).state)}"]
    if hook:
        lines.append(f"[ -r {shlex.quote(hook)} ] && . {shlex.quote(hook)} >/dev/null 2>&1")
    return template.replace(_STATE_LINE, "\n".join(lines) + "\n")
