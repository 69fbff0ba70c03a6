"""Where each asked path of the machine lands below the destination."""

import posixpath
from collections.abc import Sequence

from remote_gpu_trainer.errors import InvalidRequest
from remote_gpu_trainer.transfer.paths import collision_key, unsafe_reason


def plain_roots(roots: Sequence[str]) -> list[str]:
    """The roots without trailing slashes and doubles.

    Raises:
        InvalidRequest: none is given, one is not absolute, is ``/``, or lies in another.
    """
    plain = list(dict.fromkeys(posixpath.normpath(root) if root.startswith("/") else root for root in roots))
    plain = [f"/{root.lstrip('/')}" if root.startswith("//") else root for root in plain]
    if not plain:
        raise InvalidRequest("no path on the machine was named", effect="Nothing was copied.")
    for root in plain:
        if not root.startswith("/") or root == "/" or "\0" in root or any(".." in given.split("/") for given in roots):
            raise InvalidRequest(
                f"{root!r} is no absolute path below /, without '..'",
                next_step="name folders such as /workspace/out",
                effect="Nothing was copied.",
            )
        inside = next((other for other in plain if other != root and root.startswith(f"{other}/")), None)
        if inside:
            raise InvalidRequest(
                f"{root} lies in {inside}", next_step=f"name {inside} alone", effect="Nothing was copied."
            )
    return plain


def prefixes(roots: Sequence[str]) -> list[str]:
    """For each root the folder below the destination, with its final slash: none for a single root, else its last name.

    Raises:
        InvalidRequest: two roots have the same last name, or it is no safe one.
    """
    if len(roots) == 1:
        return [""]
    names = [posixpath.basename(root) for root in roots]
    if len({collision_key(name) for name in names}) < len(names):
        raise InvalidRequest(
            f"two of the paths end in the same name: {', '.join(names)}",
            next_step="copy them with two calls to two destinations",
            effect="Nothing was copied.",
        )
    for name in names:
        if reason := unsafe_reason(name):
            raise InvalidRequest(f"the name of a path is not safe here: {reason}", effect="Nothing was copied.")
    return [f"{name}/" for name in names]
