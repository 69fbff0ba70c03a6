"""JPEG, GIF, WebP, BMP and TIFF: every frame decoded by Pillow in the confined process."""

import importlib
import importlib.util
import warnings
from typing import Any

from remote_gpu_trainer.verify import confine
from remote_gpu_trainer.verify.outcome import BrokenArtifact, Outcome
from remote_gpu_trainer.verify.source import Source

FRAMES_MOST = 10_000
PIXELS_MOST = 1 << 30
"""Of all frames together; of one frame Pillow's own limit holds, some 90 million."""
_MAGIC = {
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_PLUGINS = {"JPEG": "Jpeg", "GIF": "Gif", "WEBP": "WebP", "BMP": "Bmp", "TIFF": "Tiff"}


def load_jpeg(source: Source) -> Outcome:
    """Decode a JPEG."""
    return _load(source, "JPEG")


def load_gif(source: Source) -> Outcome:
    """Decode a GIF."""
    return _load(source, "GIF")


def load_webp(source: Source) -> Outcome:
    """Decode a WebP."""
    return _load(source, "WEBP")


def load_bmp(source: Source) -> Outcome:
    """Decode a BMP."""
    return _load(source, "BMP")


def load_tiff(source: Source) -> Outcome:
    """Decode a TIFF."""
    return _load(source, "TIFF")


def _load(source: Source, kind: str) -> Outcome:
    head = source.read(0, min(source.size, 16))
    if not head.startswith(_MAGIC[kind]) or (kind == "WEBP" and head[8:12] != b"WEBP"):
        raise BrokenArtifact("not-an-image", f"it does not begin as {kind}")
    if importlib.util.find_spec("PIL") is None:
        outcome = Outcome(loaded=False)
        outcome.note("no-loader", f"{kind} needs the extra 'images' (Pillow); only its first bytes were looked at")
        return outcome
    with confine.importing():
        image: Any = importlib.import_module("PIL.Image")
        image.preinit()
        importlib.import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
    with warnings.catch_warnings(), source.stream() as stream:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", image.DecompressionBombWarning)
        try:
            return _decoded(image, stream, kind)
        except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
            raise BrokenArtifact("bomb", f"its pixels are more than is unpacked: {str(error)[:120]}") from error
        except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError) as error:
            raise BrokenArtifact("corrupt", f"it cannot be decoded: {str(error)[:120]}") from error


def _decoded(image: Any, stream: Any, kind: str) -> Outcome:
    outcome, pixels = Outcome(), 0
    with image.open(stream, formats=[kind]) as opened:
        width, height = opened.size
        frames: int = getattr(opened, "n_frames", 1)
        if frames > FRAMES_MOST:
            raise BrokenArtifact("bomb", f"it has {frames} frames")
        for frame in range(frames):
            opened.seek(frame)
            pixels += opened.size[0] * opened.size[1]
            if pixels > PIXELS_MOST:
                raise BrokenArtifact("bomb", f"its first {frame + 1} frames hold {pixels} pixels")
            opened.load()
    outcome.facts.update(width=width, height=height, frames=frames)
    return outcome
