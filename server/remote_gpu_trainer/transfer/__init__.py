"""Bytes between a stranger's machine and home: named, bounded, proven, resumed."""

from remote_gpu_trainer.transfer.limits import CopyLimits, Progress
from remote_gpu_trainer.transfer.manifests import read_manifest
from remote_gpu_trainer.transfer.pull import pull
from remote_gpu_trainer.transfer.push import push, survey
from remote_gpu_trainer.transfer.recheck import recheck_local
from remote_gpu_trainer.transfer.routes import choose

__all__ = ["CopyLimits", "Progress", "choose", "pull", "push", "read_manifest", "recheck_local", "survey"]
