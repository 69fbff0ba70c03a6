"""What was asked of the world and what came of it, on disk before and after."""

from remote_gpu_trainer.journal.store import SqliteJournal

__all__ = ["SqliteJournal"]
