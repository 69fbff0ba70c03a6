"""From accepted to running: what an image weighs, how long its pull takes, and why a container may never come up."""

import re
from dataclasses import dataclass

from remote_gpu_trainer.emulator.book import Machine

PICK_UP_S = 4.0
"""Emulated seconds until a host reports a new contract."""
START_S = 8.0
"""Emulated seconds to start a container whose image is there."""
UNPACK_MB_PER_S = 180.0
_CUDA = re.compile(r"(?:cuda|cu)[-:_]?(\d{2})[._]?(\d)(?!\d)")
_NVIDIA = re.compile(r"nvidia/cuda[:_](\d+)\.(\d+)")
_SIZES_MB = {
    "vastai/pytorch": 7800.0,
    "vastai/base-image": 5200.0,
    "pytorch/pytorch": 6200.0,
    "nvidia/cuda": 3400.0,
    "tensorflow/": 5400.0,
    "nvcr.io/nvidia/pytorch": 20500.0,
    "huggingface/": 9100.0,
    "ubuntu": 80.0,
    "debian": 120.0,
    "python": 390.0,
    "alpine": 8.0,
}
_MISSING = re.compile(r"(^|[/:_-])(missing|nonexistent|does-not-exist|no-such|notfound)([/:_.-]|$)")


@dataclass(frozen=True)
class Image:
    """An image reference read: ``size_mb`` compressed, ``cuda`` of its toolkit where the name tells."""

    name: str
    size_mb: float
    cuda: float | None
    missing: bool

    @property
    def no_such_manifest(self) -> str:
        """The Docker daemon's words for an image that is not there."""
        repository, _, tag = self.name.rpartition(":")
        repository, tag = (repository, tag) if repository else (tag, "latest")
        return (
            f"Error response from daemon: manifest for {repository}:{tag} not found: manifest unknown: manifest unknown"
        )


def read_image(name: str, automatic_cuda: float) -> Image:
    """Read an image name. ``@vastai-automatic-tag`` gives ``automatic_cuda``, on ``vastai/*`` images only."""
    size = next((mb for prefix, mb in _SIZES_MB.items() if name.startswith(prefix)), 2400.0)
    if name.endswith("-devel") or "-devel-" in name:
        size *= 1.8
    if fat := re.search(r"fat-?(\d+)gb", name):
        size = int(fat[1]) * 1000.0
    automatic = "@vastai-automatic-tag" in name
    missing = bool(_MISSING.search(name)) or (automatic and not name.startswith("vastai/"))
    found = _NVIDIA.search(name) or _CUDA.search(name)
    cuda = float(f"{found[1]}.{found[2]}") if found else (automatic_cuda if automatic and not missing else None)
    return Image(name, size, cuda, missing)


def pull_seconds(image: Image, machine: Machine) -> float:
    """Emulated seconds to bring the image onto the machine; a cached one is quick."""
    if image.name in machine.cached_images:
        return 2.0
    link_mb_per_s = max(0.5, machine.inet_down / 8 * 0.6)
    return image.size_mb / link_mb_per_s + image.size_mb * 2.2 / UNPACK_MB_PER_S


def driver_refusal(image: Image, machine: Machine) -> str | None:
    """The container runtime's words when the image's CUDA is newer than the driver supports; None when it starts."""
    if image.cuda is None or image.cuda <= machine.cuda_max_good:
        return None
    return (
        "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime "
        "create failed: runc create failed: unable to start container process: error during container init: error "
        "running hook #0: exit status 1, stderr: nvidia-container-cli: requirement error: unsatisfied condition: "
        f"cuda>={image.cuda:.1f}, please update your driver to a newer version, or use an earlier cuda container: "
        "unknown"
    )


def success_message(image: str, runtype: str) -> str:
    """The message of a container that came up."""
    flavour = "jupyter" if "jupyter" in runtype else ("args" if runtype == "args" else "ssh")
    return f"success, running {image.replace(':', '_')}/{flavour}"


def pull_message(image: str, fraction: float) -> str:
    """The message while an image comes down: ``fraction`` of it is there."""
    layer = f"{abs(hash_of(image)) % (1 << 48):012x}"
    if fraction < 0.02:
        return f"{image}: Pulling from {image.split(':')[0]}"
    if fraction < 0.6:
        return f"{layer}: Downloading {fraction / 0.6:.0%}"
    return f"{layer}: Extracting {(fraction - 0.6) / 0.4:.0%}"


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    number = 5381
    for char in text:
        number = (number * 33 + ord(char)) & 0xFFFFFFFFFFFF
    return number
