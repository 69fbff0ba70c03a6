"""Bulk bytes by the system's own ``ssh``, which encrypts several times faster than Python does."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remote_gpu_trainer.domain.instances import Endpoint
from remote_gpu_trainer.ssh.quoting import command_line


@dataclass(frozen=True)
class OpensshTarget:
    """Where ``ssh`` goes, with which key, and the one host key that it may meet there."""

    endpoint: Endpoint
    user: str
    key: Path
    known_hosts: Path
    alias: str

    @property
    def installed(self) -> bool:
        """Whether there is an ``ssh`` here."""
        return shutil.which("ssh") is not None

    def options(self) -> list[str]:
        """Options that hold for ``ssh`` alone and under rsync: one key, one pin, no agent, no configuration."""
        pairs = {
            "BatchMode": "yes",
            "ControlMaster": "no",
            "ControlPath": "none",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "CheckHostIP": "no",
            "HostKeyAlias": self.alias,
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "ConnectTimeout": "20",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "Ciphers": "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr",
            "LogLevel": "ERROR",
        }
        return [
            "-F", "/dev/null", "-T", "-i", str(self.key), "-p", str(self.endpoint.port),
            *(word for name, value in pairs.items() for word in ("-o", f"{name}={value}")),
        ]  # fmt: skip

    def command(self, argv: Sequence[str]) -> list[str]:
        """The local command that runs ``argv`` over there."""
        return ["ssh", *self.options(), "-l", self.user, "--", self.endpoint.host, command_line(argv)]
