"""What training scripts keep beside tensors and torch alone refuses: an argparse namespace, and paths.

Both are the standard library's own and do nothing when made; they are held to exactly what it writes.
"""

import argparse
import pathlib
from typing import Any

from remote_gpu_trainer.verify.loaders.described import Box, Call
from remote_gpu_trainer.verify.outcome import BrokenArtifact

NAMESPACE = "argparse Namespace"
PATHS = {f"{module} {name}" for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "PurePosixPath")}
"""Python 3.13 wrote them under the second module; other versions know the first."""
SETTINGS = {NAMESPACE, *PATHS}


def called(name: str, opcode: str, args: list[object]) -> Call:
    """A namespace without content, or a path.

    Raises:
        BrokenArtifact: ``unsafe-pickle``, it is not what the library writes.
    """
    plain = not args if name == NAMESPACE else all(isinstance(part, str) for part in args)
    if not plain or opcode != ("NEWOBJ" if name == NAMESPACE else "REDUCE"):
        raise BrokenArtifact("unsafe-pickle", f"it makes {name.replace(' ', '.')} as its library does not")
    return Call(name, args)


def built(target: Call, state: object) -> None:
    """The content of a namespace.

    Raises:
        BrokenArtifact: ``unsafe-pickle``.
    """
    entries = state.items if isinstance(state, Box) and state.kind == "EMPTY_DICT" else [None]
    if target.name != NAMESPACE or not all(isinstance(key, str) for key in entries[::2]):
        raise BrokenArtifact("unsafe-pickle", f"it sets a state of {target.name.replace(' ', '.')} that has none")


def torch_globals() -> list[Any]:
    """What ``weights_only`` has to be allowed for them."""
    paths = [pathlib.PosixPath, pathlib.PurePosixPath]
    return [argparse.Namespace, *paths, *((one, f"pathlib._local.{one.__name__}") for one in paths)]
