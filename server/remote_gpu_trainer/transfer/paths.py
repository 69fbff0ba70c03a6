"""Whether a name from a stranger may become a name on this disk."""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from remote_gpu_trainer.transfer.whereabouts import Whereabouts

PARTIAL_FOLDER = ".rgt-partial"
"""Where unfinished files live below a destination; no remote name may reach into it."""
MOST_NAME_BYTES = 255
MOST_PATH_BYTES = 1024
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(?:[.:].*)?", re.IGNORECASE
)
_DRIVE = re.compile(r"[A-Za-z]:")
_HIDDEN = {
    "Cc": "a control character",
    "Cf": "an invisible or direction-changing character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character",
    "Cn": "an unassigned character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def unsafe_reason(path: str, *, max_depth: int = 64) -> str | None:
    """Why a relative POSIX path may not be written below a destination; None when it may.

    Args:
        path: As the machine names it.
        max_depth: Components that are allowed, the file's own name included.
    """
    if not path:
        return "an empty name"
    if path.startswith("/"):
        return "an absolute path"
    if "\\" in path:
        return "a backslash, which some systems take for a folder's end"
    if _DRIVE.match(path):
        return "the letter of a drive on Windows"
    if not (path.isascii() and path.isprintable()):  # nearly all are, and then there is nothing to look for
        for character in path:
            if character >= "\x7f" or character < " ":
                kind = unicodedata.category(character)
                if kind in _HIDDEN:
                    return f"{_HIDDEN[kind]} (U+{ord(character):04X})"
    if len(path.encode()) > MOST_PATH_BYTES:
        return f"longer than {MOST_PATH_BYTES} bytes"
    parts = path.split("/")
    if len(parts) > max_depth:
        return f"deeper than {max_depth} folders"
    return next((reason for reason in map(_part_reason, parts) if reason), None) or (
        f"{PARTIAL_FOLDER} is where unfinished files live" if collision_key(parts[0]) == PARTIAL_FOLDER else None
    )


@lru_cache(1 << 14)  # folders recur, and each path is asked for twice
def _part_reason(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"a component that is {part!r}"
    if len(part.encode()) > MOST_NAME_BYTES:
        return f"a name longer than {MOST_NAME_BYTES} bytes"
    if part != part.strip() or part.endswith("."):
        return "a name that begins or ends with a space, or ends with a dot"
    if _RESERVED.fullmatch(part):
        return f"{part[:20]!r} is a device's name on Windows"
    return None


def collision_key(path: str) -> str:
    """Equal for names that some file system takes for one: case is folded and Unicode is composed."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold())


def shown(path: str) -> str:
    """A stranger's name for a reader: escaped, at most 200 characters."""
    text = "".join(
        c if c.isprintable() and unicodedata.category(c) not in _HIDDEN else c.encode("unicode_escape").decode("ascii")
        for c in path[:400]
    )
    return text if len(text) <= 200 else f"{text[:197]}..."


class TakenNames:
    """Names that were already taken below one destination. Those of files are kept elsewhere, by their numbers."""

    def __init__(self, path_of: Callable[[int], str]) -> None:
        self._path_of = path_of
        self._taken = Whereabouts()
        """By the collision key: twice the number of a file, or one more than twice that of a folder."""
        self._folders: list[str] = []
        self._spelled: set[str] = set()
        """Folders that are taken, with all above them, in just this spelling."""

    def take(self, path: str, number: int) -> str | None:
        """Take the name of a file of that number; or say with what it collides, and take nothing."""
        folder = path.rpartition("/")[0]
        wanted: list[str] = []
        if folder and folder not in self._spelled:
            parts = folder.split("/")
            for end in range(1, len(parts) + 1):
                name = "/".join(parts[:end])
                taken = self._holder(collision_key(name))
                if taken is None:
                    wanted.append(name)
                elif taken != (name, False):
                    return f"collides with {shown(taken[0])}"
        taken = self._holder(key := collision_key(path))
        if taken is not None:
            return f"collides with {shown(taken[0])}"
        for name in wanted:
            self._taken.add(collision_key(name), 2 * len(self._folders) + 1)
            self._folders.append(name)
        self._spelled.add(folder)
        self._taken.add(key, 2 * number)
        return None

    def _holder(self, key: str) -> tuple[str, bool] | None:
        """Who has a key, and whether it is a file."""
        for number in self._taken.find(key):
            name = self._folders[number // 2] if number % 2 else self._path_of(number // 2)
            if collision_key(name) == key:
                return name, number % 2 == 0
        return None
