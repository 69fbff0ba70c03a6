"""Files as the folders that they lie in, for reading on the page. Nothing is left out."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from remote_gpu_trainer.approval.visible import visible
from remote_gpu_trainer.domain.plans import ProvenFile


@dataclass
class Folder:
    """One folder, or several that hold nothing but each other, written with slashes."""

    name: str
    """Made visible; empty for the top."""
    folders: "dict[str, Folder]" = field(default_factory=dict[str, "Folder"])
    files: list[tuple[str, ProvenFile]] = field(default_factory=list[tuple[str, ProvenFile]])
    count: int = 0
    """Files in it and below."""
    size: int = 0
    """Bytes in it and below."""


def tree_of(files: Iterable[ProvenFile]) -> Folder:
    """The folders of some files, each level in the order of names."""
    top = Folder("")
    for file in sorted(files, key=lambda one: one.path):
        *above, name = file.path.split("/")
        here = top
        for part in above:
            here.count, here.size = here.count + 1, here.size + file.size
            here = here.folders.setdefault(part, Folder(visible(part)))
        here.count, here.size = here.count + 1, here.size + file.size
        here.files.append((visible(name), file))
    _join_chains(top)
    return top


def _join_chains(top: Folder) -> None:
    # A loop and no recursion: how deep a tree goes is the machine's word.
    waiting = list(top.folders.values())
    while waiting:
        folder = waiting.pop()
        while not folder.files and len(folder.folders) == 1:
            [only] = folder.folders.values()
            folder.name, folder.folders, folder.files = f"{folder.name}/{only.name}", only.folders, only.files
        waiting.extend(folder.folders.values())
