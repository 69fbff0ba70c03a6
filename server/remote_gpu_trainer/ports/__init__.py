"""What the services need of the world, as protocols. Adapters implement them; tests run one suite over each pair."""

from remote_gpu_trainer.ports.clock import Clock
from remote_gpu_trainer.ports.consent import ApprovalBook, PageDoor
from remote_gpu_trainer.ports.host import ByteStream, CommandResult, HostConnector, RemoteHost
from remote_gpu_trainer.ports.journal import Journal
from remote_gpu_trainer.ports.market import Marketplace
from remote_gpu_trainer.ports.storage import HeldUpload, ObjectStore, UploadNotes

__all__ = [
    "ApprovalBook",
    "ByteStream",
    "Clock",
    "CommandResult",
    "HeldUpload",
    "HostConnector",
    "Journal",
    "Marketplace",
    "ObjectStore",
    "PageDoor",
    "RemoteHost",
    "UploadNotes",
]
