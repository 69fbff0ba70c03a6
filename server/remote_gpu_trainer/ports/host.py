"""A rented box, over SSH."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Endpoint
from remote_gpu_trainer.domain.values import Value


class CommandResult(Value):
    """How a remote command ended. Both outputs are untrusted and were cut at the limit that was asked."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class ByteStream(Protocol):
    """A command's output, to be read in one of two ways, once."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Piece by piece."""
        ...

    async def pump(self, take: Callable[[memoryview], None]) -> None:
        """Give all of it to ``take``, on one thread; each piece is valid during its call only.

        A cancel takes effect between two calls. What ``take`` raises ends the stream and passes through.

        Raises:
            ConnectionCut: nothing came for a minute, or the connection ended.
        """
        ...


class RemoteHost(Protocol):
    """One SSH connection to one box, after its host key was checked."""

    @property
    def endpoint(self) -> Endpoint:
        """Where this connection goes."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float,
        max_output: int = 1 << 20,
    ) -> CommandResult:
        """Run a command, each argument quoted, and wait for its end.

        Raises:
            WaitExpired: it did not end in time; the channel was closed.
            ConnectionCut: the connection ended first.
        """
        ...

    def stream(
        self, argv: Sequence[str], *, stdin: bytes | Iterable[bytes] = b"", chunk: int = 1 << 20, bulk: bool = False
    ) -> AbstractAsyncContextManager[ByteStream]:
        """Run a command and read its output as it comes, through a channel with a large window.

        ``stdin`` may be given in pieces, which are drawn on a thread of its own and may wait for what has come.

        ``bulk`` says that much output is expected, so that it may take a faster connection of its own.

        Raises:
            RemoteCommandFailed: on leaving, when the command ended with another status than 0.
        """
        ...

    async def put(self, content: bytes | Path, remote_path: str, *, mode: int = 0o644) -> None:
        """Write one remote file atomically (temporary name, then rename); parents are made."""
        ...

    async def close(self) -> None:
        """Close. Safe to repeat."""
        ...


class HostConnector(Protocol):
    """Opens connections to boxes."""

    async def connect(self, lease: LeaseId, endpoints: Sequence[Endpoint], *, timeout_s: float = 20.0) -> RemoteHost:
        """Connect to the first endpoint that answers, best first, and check the pinned host key.

        Raises:
            HostUnreachable: none answered; ``details`` names each and why.
            HostKeyChanged: the key is not the one pinned for this lease.
            HostAuthFailed: our key was refused.
        """
        ...

    def public_key(self) -> str:
        """The one-line public key that boxes must accept; made at first use."""
        ...
