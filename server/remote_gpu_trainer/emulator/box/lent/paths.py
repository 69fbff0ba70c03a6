"""Where plain folders stand in for a box: absolute paths of the box in commands become paths below its real root.

Standard library only: it is copied into the box, where its Python and its shells use it too.

It is a rewriting of text, not a wall, and has limits: what a program builds from pieces (``"/work" + "space"``),
scripts run by their ``#!`` line, and what is typed into an interactive shell keep their paths.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property

OWN = ("workspace", "root", "tmp", "etc/ssh")
"""Folders that a box has for itself."""


@dataclass(frozen=True)
class PathMap:
    """Maps the box's ``own`` folders to ``base``, and leaves alone what lies below ``keep``."""

    base: str
    keep: tuple[str, ...] = ()
    own: tuple[str, ...] = OWN

    @cached_property
    def _inside(self) -> re.Pattern[str]:
        kept = "|".join(re.escape(path.rstrip("/")) for path in (self.base, *self.keep))
        own = "|".join(re.escape(folder) for folder in self.own)
        return re.compile(
            r"(?:(?<![\w./~+@%}$*-])|(?<=\s-[A-Za-z]))"  # at the start of a word, or glued to a one-letter option
            rf"(?!(?:{kept})(?:/|\b))"
            rf"/(?=(?:{own})(?:$|[^\w.+@%~-]))"
        )

    def text(self, command: str) -> str:
        """A command line or a script with the box's absolute paths made real."""
        return self._inside.sub(lambda _: self.base + "/", command)

    def path(self, path: str) -> str:
        """One path made real, if it is one of the box's own."""
        if not path.startswith("/") or self._kept(path):
            return path
        clean = os.path.normpath(path)
        return self.base + clean if any(f"{clean}/".startswith(f"/{own}/") for own in self.own) else path

    def _kept(self, path: str) -> bool:
        return any(path == kept or path.startswith(kept.rstrip("/") + "/") for kept in (self.base, *self.keep))

    def back(self, output: bytes) -> bytes:
        """Output for people with real paths turned into the box's."""
        return output.replace(os.fsencode(self.base), b"")


def from_environment() -> PathMap | None:
    """The map of the box that this process runs in, if plain folders stand in for it."""
    base = os.environ.get("RGT_BOX_ROOT", "")
    keep = tuple(path for path in os.environ.get("RGT_BOX_KEEP", "").split(os.pathsep) if path)
    own = tuple(path for path in os.environ.get("RGT_BOX_OWN", "").split(os.pathsep) if path)
    return PathMap(base, keep, own or OWN) if base not in ("", "/") else None
