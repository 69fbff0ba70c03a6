"""What a Docker reference tells without asking a registry."""

import re

_WITH_WORD = re.compile(r"cu(?:da)?[-_.]?(?P<major>1[0-9]|[89])[.]?(?P<minor>\d)(?!\d{2})")
_NVIDIA_TAG = re.compile(r"^(?P<major>1[0-9]|[89])\.(?P<minor>\d+)(?:\.\d+)?(?:-|$)")
_AUTOMATIC = "@vastai-automatic-tag"


def cuda_in_image(image: str) -> float | None:
    """The CUDA version that a tag names, or None when it names none.

    Understands ``cuda12.4``, ``cuda-12.8.1``, ``cu124`` and the tags of ``nvidia/cuda``. A tag is the
    publisher's word, so the boot check looks again on the box.
    """
    bare = image.partition("@sha256:")[0]
    name, _, tag = bare.rpartition(":") if ":" in bare.rsplit("/", 1)[-1] else (bare, "", "")
    if match := _WITH_WORD.search(tag.lower()):
        return float(f"{match['major']}.{match['minor']}")
    if name.endswith(("nvidia/cuda", "/cuda")) and (match := _NVIDIA_TAG.match(tag)):
        return float(f"{match['major']}.{match['minor']}")
    return None


def automatic_tag(image: str) -> bool:
    """Whether the reference leaves its tag to the platform."""
    return _AUTOMATIC in image


def repository(image: str) -> str:
    """The reference without tag and digest."""
    bare = image.split("@", 1)[0]
    return bare.rsplit(":", 1)[0] if ":" in bare.rsplit("/", 1)[-1] else bare
