"""Bulk bytes by the system's own ``ssh``, which encrypts several times faster than Python does."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remote_gpu_trainer.domain.instances import Endpoint
from remote_gpu_trainer.errors import ConnectionCut, HostKeyChanged, RemoteCommandFailed
from remote_gpu_trainer.ssh.quoting import command_line

OWN_FAILURE = 255
"""Exit status with which ``ssh`` says that it failed itself, and not the command over there."""


@dataclass(frozen=True)
class OpensshTarget:
    """Where ``ssh`` goes, with which key, and the one host key that it may meet there."""

    endpoint: Endpoint
    user: str
    key: Path
    known_hosts: Path
    alias: str
    strict: str = "yes"
    """``accept-new`` pins the key that is shown at first contact; another one later is refused in both."""

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
            "StrictHostKeyChecking": self.strict,
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


def demand_ssh_success(status: int, said: str, where: str) -> None:
    """Read how an ``ssh`` process ended.

    Raises:
        HostKeyChanged: it met another key than the pinned one.
        ConnectionCut: the connection failed or ended.
        RemoteCommandFailed: the command over there ended with another status than 0.
    """
    text = "".join(c if c.isprintable() else " " for c in said[-400:])
    if status == 0:
        return
    if status == OWN_FAILURE and "Host key verification failed" in said:
        raise HostKeyChanged(f"{where} shows another host key than the pinned one", effect="Nothing was sent to it.")
    if status == OWN_FAILURE or status < 0:
        raise ConnectionCut(f"ssh to {where} ended with status {status}", details={"stderr": text})
    raise RemoteCommandFailed(
        f"the command on {where} ended with status {status}", details={"exit_status": status, "stderr": text}
    )
