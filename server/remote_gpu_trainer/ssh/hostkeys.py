"""Which host key belongs to which lease: from the container's log where it is known, else from first contact."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.errors import HostKeyChanged, InvalidRequest
from remote_gpu_trainer.ssh.privatefile import write_private

PinSource = Literal["log", "first-contact"]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_KEY = re.compile(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,2000}={0,2})")
_MARK = "rgt-hostkey "
MOST_KEYS = 8


def keys_in_log(text: str) -> list[str]:
    """Host keys that a box's boot hook printed as ``rgt-hostkey TYPE BASE64``; those of the last boot, by type."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        at = line.find(_MARK)
        if at >= 0 and (key := _normal(line[at + len(_MARK) :])):
            found[key.split()[0]] = key
    return list(found.values())


def fingerprint(key: str) -> str:
    """``SHA256:...`` of a ``TYPE BASE64`` line, as ssh prints it."""
    blob = base64.b64decode(key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


class HostKeyPins:
    """Pins under ``home/hostkeys``: one known_hosts file for each lease, whose host name is the lease."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "hostkeys"

    def file(self, lease: LeaseId) -> Path:
        """The known_hosts file of a lease, for ``ssh -o UserKnownHostsFile`` with ``HostKeyAlias`` set to the lease.

        Raises:
            InvalidRequest: the lease's name is no file name.
        """
        if not _NAME.fullmatch(lease):
            raise InvalidRequest(f"{lease!r} is no lease id", effect="No connection was made.")
        return self._folder / lease

    def expect(self, lease: LeaseId, keys: Iterable[str]) -> None:
        """Record what the container's log says; from now on nothing else is accepted for this lease.

        Args:
            lease: Whose box it is.
            keys: ``TYPE BASE64`` lines, for example from :func:`keys_in_log`.

        Raises:
            InvalidRequest: none of them is a host key.
            HostKeyChanged: the key that was already pinned, or expected, is not among them.
        """
        given = [key for key in (_normal(line) for line in keys) if key][:MOST_KEYS]
        if not given:
            raise InvalidRequest("no usable host key was given", effect="No pin was changed.")
        pinned, earlier = self.pinned(lease), self.expected(lease)
        if pinned and pinned not in given:
            raise _changed(lease, pinned, given[0], "the container's log names")
        if earlier and not set(earlier) & set(given):
            raise _changed(lease, earlier[0], given[0], "the container's log now names")
        write_private(self.file(lease).with_suffix(".expected"), "".join(f"{key}\n" for key in given).encode())
        if pinned:
            self._pin(lease, pinned, "log")

    def expected(self, lease: LeaseId) -> list[str]:
        """``TYPE BASE64`` lines that the log named; empty when nothing is known."""
        return _lines(self.file(lease).with_suffix(".expected"))

    def pinned(self, lease: LeaseId) -> str | None:
        """The pinned ``TYPE BASE64``, or None before first contact."""
        for line in _lines(self.file(lease)):
            name, _, key = line.partition(" ")
            if name == lease and (normal := _normal(key)):
                return normal
        return None

    def pin_source(self, lease: LeaseId) -> PinSource | None:
        """How the pin came to be; None before first contact."""
        if self.pinned(lease) is None:
            return None
        return "log" if "# pinned: log" in _lines(self.file(lease)) else "first-contact"

    def acceptable(self, lease: LeaseId) -> Sequence[str]:
        """The keys that may be shown next; empty when anything is accepted once."""
        pinned = self.pinned(lease)
        return [pinned] if pinned else self.expected(lease)

    def check(self, lease: LeaseId, shown: str) -> None:
        """Accept a key that a server proved to hold, pinning it at first contact.

        Raises:
            HostKeyChanged: it is not the pinned one, or not one that the container's log named.
        """
        expected, pinned = self.expected(lease), self.pinned(lease)
        if pinned and shown != pinned:
            raise _changed(lease, pinned, shown, "the machine shows")
        if expected and shown not in expected:
            raise _changed(lease, expected[0], shown, "the machine shows")
        if not pinned:
            self._pin(lease, shown, "log" if expected else "first-contact")

    def _pin(self, lease: LeaseId, key: str, source: PinSource) -> None:
        write_private(self.file(lease), f"# pinned: {source}\n{lease} {key}\n".encode())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except FileNotFoundError:
        return []


def _normal(line: str) -> str | None:
    match = _KEY.match(line.strip())
    if match is None:
        return None
    try:
        blob = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None
    kind = match[1].encode()
    return f"{match[1]} {match[2]}" if blob[4 : 4 + len(kind)] == kind else None


def _changed(lease: LeaseId, pinned: str, shown: str, who: str) -> HostKeyChanged:
    return HostKeyChanged(
        f"lease {lease} is pinned to {fingerprint(pinned)}, and {who} {fingerprint(shown)}",
        effect="Nothing was sent to the machine.",
        details={"pinned": fingerprint(pinned), "shown": fingerprint(shown)},
    )
