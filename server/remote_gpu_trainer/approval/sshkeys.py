"""Public keys of security keys, and the pinned list of those who may sign."""

import base64
import binascii
import hashlib
import shlex
from dataclasses import dataclass
from typing import Literal

from remote_gpu_trainer.approval.sshwire import Malformed, Reader
from remote_gpu_trainer.errors import ConfigError

ED25519_SK = "sk-ssh-ed25519@openssh.com"
ECDSA_SK = "sk-ecdsa-sha2-nistp256@openssh.com"


@dataclass(frozen=True)
class SecurityKey:
    """A public key whose private half lies in a security key."""

    kind: Literal["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
    point: bytes
    application: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def signed(self, content: bytes, signature: bytes) -> bool:
        """Whether this key made this signature over these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            if self.kind == ED25519_SK:
                ed25519.Ed25519PublicKey.from_public_bytes(self.point).verify(signature, content)
            else:
                reader = Reader(signature)
                r, s = int.from_bytes(reader.string(), "big"), int.from_bytes(reader.string(), "big")
                reader.end()
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)
                key.verify(utils.encode_dss_signature(r, s), content, ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class AllowedSigner:
    """One line of the pinned list."""

    name: str
    key: SecurityKey

    @property
    def fingerprint(self) -> str:
        """Of the key."""
        return self.key.fingerprint

    @property
    def title(self) -> str:
        """What the statement and the journal call it."""
        return f"{self.name} {self.fingerprint}"


def security_key(blob: bytes) -> SecurityKey:
    """The key in its wire form.

    Raises:
        Malformed: it is not one, or not of a kind that needs a touch.
    """
    reader = Reader(blob)
    kind = reader.text()
    if kind == ED25519_SK:
        point = reader.string()
        if len(point) != 32:
            raise Malformed(f"its key has {len(point)} bytes")
        key = SecurityKey(ED25519_SK, point, reader.text(), blob)
    elif kind == ECDSA_SK:
        curve = reader.text()
        if curve != "nistp256":
            raise Malformed(f"its key is on the curve {curve[:20]!r}")
        key = SecurityKey(ECDSA_SK, reader.string(), reader.text(), blob)
    else:
        raise Malformed(f"its key is of kind {kind[:60]!r}, which no touch guards")
    reader.end()
    return key


def parse_allowed_signers(text: str) -> tuple[AllowedSigner, ...]:
    """The pinned list: a name, a key type and a key on each line, ``#`` for comments, no options.

    Raises:
        ConfigError: a line is not of that form; none of the file is used then.
    """
    signers: list[AllowedSigner] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            signers.append(_signer(line))
        except (Malformed, ValueError, binascii.Error) as problem:
            raise ConfigError(
                f"line {number} of the allowed signers is not accepted: {problem}",
                next_step="give a name, the key type and the key of a security key (ssh-keygen -t ed25519-sk "
                "-O verify-required), and no options",
                effect="No signer is allowed until the file is right.",
            ) from problem
    return tuple(signers)


def _signer(line: str) -> AllowedSigner:
    words = shlex.split(line)
    if len(words) < 3:
        raise Malformed("it has fewer than three words")
    name, kind, key = words[:3]
    if "*" in name or "," in name or "!" in name:
        raise Malformed("its name is a pattern")
    if kind not in (ED25519_SK, ECDSA_SK):
        raise Malformed(f"{kind[:60]!r} is an option or a kind of key that no touch guards")
    parsed = security_key(base64.b64decode(key, validate=True))
    if parsed.kind != kind:
        raise Malformed("the key is of another kind than the line says")
    return AllowedSigner(name, parsed)
