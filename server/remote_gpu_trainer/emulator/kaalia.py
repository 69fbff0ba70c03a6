"""The machine's own SSH, apart from its boxes: user ``vastai_kaalia`` runs rsync in daemon mode, a module per instance.

It reads the disk of a stopped instance too, as ``vastai copy`` uses it (CLI 1.9.1).
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Modules:
    """What the daemon may serve now: OpenSSH lines of allowed keys, and the disk of each instance by id."""

    keys: list[str]
    roots: dict[int, Path]


Counted = Callable[[int, int, int], None]
"""Called with the instance's id and the bytes that left it and came into it."""


class Kaalia:
    """Listens on loopback from the start; paramiko is loaded when the first client comes."""

    def __init__(self, folder: Path, modules: Callable[[], Modules], counted: Counted) -> None:
        self._folder, self._modules, self._counted = folder, modules, counted
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="kaalia", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):  # not connected is how a listener says it was open
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="kaalia-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        from remote_gpu_trainer.emulator.kaalia_ssh import serve  # paramiko takes 0.4 s: only when somebody comes

        serve(client, self._folder / "machine_host_key", self._modules(), self._counted)
