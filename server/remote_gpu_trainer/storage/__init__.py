"""Buckets in which results are kept off the machine."""

from remote_gpu_trainer.storage.notes import NoteFolder
from remote_gpu_trainer.storage.s3 import S3Store
from remote_gpu_trainer.storage.urls import BucketUrl

__all__ = ["BucketUrl", "NoteFolder", "S3Store"]
