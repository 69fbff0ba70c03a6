"""Which loader reads which file: by magic bytes where a format has them, otherwise by suffix."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from remote_gpu_trainer.verify.outcome import Outcome
from remote_gpu_trainer.verify.source import Source

_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How torch began its files before they were zips: the pickle of a magic number."""
_LOADERS = "remote_gpu_trainer.verify.loaders."


@dataclass(frozen=True)
class Format:
    """One format. A file of that suffix without the magic is broken, not unknown."""

    name: str
    suffixes: tuple[str, ...]
    loader: str
    """``module:function`` under the loaders."""
    magic: tuple[bytes, ...] = ()
    maps_file: bool = False
    library: bool = False
    """A large library is asked, which takes address space of its own."""

    def function(self) -> Callable[[Source], Outcome]:
        """The loader, imported now."""
        module, _, name = self.loader.partition(":")
        return cast(Callable[[Source], Outcome], getattr(importlib.import_module(_LOADERS + module), name))


FORMATS: tuple[Format, ...] = (
    Format("safetensors", (".safetensors",), "safetensors:load"),
    Format("pytorch", (".pt", ".pth", ".ckpt"), "pytorch:load", (_TORCH_LEGACY,), maps_file=True),
    Format("json", (".json", ".ipynb"), "jsontext:load"),
    Format("jsonl", (".jsonl", ".ndjson"), "jsonl:load"),
    Format("csv", (".csv", ".tsv"), "tables:load_csv"),
    Format("parquet", (".parquet",), "parquet:load", (b"PAR1",), library=True),
    Format("gguf", (".gguf",), "gguf:load", (b"GGUF",)),
    Format("onnx", (".onnx",), "onnx:load"),
    Format("pickle", (".pkl", ".pickle", ".joblib"), "pickles:load"),
    Format("png", (".png",), "png:load", (b"\x89PNG\r\n\x1a\n",)),
    Format("jpeg", (".jpg", ".jpeg"), "images:load_jpeg", (b"\xff\xd8\xff",), library=True),
    Format("gif", (".gif",), "images:load_gif", (b"GIF87a", b"GIF89a"), library=True),
    Format("webp", (".webp",), "images:load_webp", library=True),
    Format("bmp", (".bmp",), "images:load_bmp", library=True),
    Format("tiff", (".tif", ".tiff"), "images:load_tiff", (b"II*\0", b"MM\0*"), library=True),
    Format("npy", (".npy",), "arrays:load", (b"\x93NUMPY",)),
    Format("npz", (".npz",), "arrays:load_npz"),
    Format("tar.gz", (".tar.gz", ".tgz"), "tars:load_targz", (b"\x1f\x8b",)),
    Format("tar.bz2", (".tar.bz2", ".tbz2"), "tars:load_tarbz2"),
    Format("tar.xz", (".tar.xz", ".txz"), "tars:load_tarxz"),
    Format("tar.zst", (".tar.zst", ".tzst"), "tars:load_tarzst"),
    Format("zip", (".zip",), "zips:load_zip", (b"PK\x03\x04", b"PK\x05\x06")),
    Format("tar", (".tar",), "tars:load_tar"),
    Format("gzip", (".gz",), "archives:load_gzip", (b"\x1f\x8b",)),
    Format("bzip2", (".bz2",), "archives:load_bz2", (b"BZh",)),
    Format("xz", (".xz",), "archives:load_xz", (b"\xfd7zXZ\0",)),
    Format("zstd", (".zst",), "archives:load_zstd", (b"\x28\xb5\x2f\xfd",)),
)
BY_NAME = {entry.name: entry for entry in FORMATS}
HEAD = 16
"""Bytes of a file's beginning that ``detect`` looks at."""


def detect(path: str, head: bytes) -> Format | None:
    """The format of a file by its name, or by its magic where the name says nothing.

    The suffix wins: a ``.safetensors`` that begins like a zip must fail as safetensors, not pass as a zip.
    """
    name = path.rsplit("/", 1)[-1].lower()
    for entry in FORMATS:
        if name.endswith(entry.suffixes):
            return entry
    if name.endswith(".bin") and head.startswith(b"PK\x03\x04"):
        return BY_NAME["pytorch"]
    for entry in FORMATS:
        if any(head.startswith(magic) for magic in entry.magic):
            return entry
    return None
