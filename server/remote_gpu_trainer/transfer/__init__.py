"""Bytes between a stranger's machine and home: named, bounded, proven, resumed."""

from remote_gpu_trainer.transfer.limits import CopyLimits, Progress
from remote_gpu_trainer.transfer.manifests import read_manifest
from remote_gpu_trainer.transfer.pull import pull
from remote_gpu_trainer.transfer.recheck import recheck_local

__all__ = ["CopyLimits", "Progress", "pull", "read_manifest", "recheck_local"]
