"""Signatures by a security key, in the format of ``ssh-keygen -Y sign``: touched, unlocked, pinned, for this only.

``ssh-keygen -Y verify`` accepts a security key's signature whose flags say that nobody touched the key. Here both
flags, presence and verification, are read and required. Format: OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from remote_gpu_trainer.approval.sshkeys import AllowedSigner, SecurityKey, security_key
from remote_gpu_trainer.approval.sshwire import Malformed, Reader, string
from remote_gpu_trainer.errors import ConsentError

NAMESPACE = "gpu-destroy-v1"

_MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_MAX_CHARACTERS = 16_384
_USER_PRESENT, _USER_VERIFIED = 0x01, 0x04


@dataclass(frozen=True)
class HardwareSignature:
    """A signature that holds."""

    signer: AllowedSigner
    counter: int
    """The key's own count of signatures; one that does not grow speaks of a copied key. 0 where the key keeps none."""


@dataclass(frozen=True)
class _Envelope:
    key: SecurityKey
    namespace: str
    reserved: bytes
    hash_name: str
    signature: bytes
    flags: int
    counter: int


def verify_signature(
    armored: str, message: bytes, *, signers: tuple[AllowedSigner, ...], last_counters: Mapping[str, int]
) -> HardwareSignature:
    """Accept a signature over a message, or say why not.

    Args:
        armored: What ``ssh-keygen -Y sign -n gpu-destroy-v1`` wrote.
        message: The exact bytes that the person signed.
        signers: The pinned keys.
        last_counters: By ``AllowedSigner.fingerprint``, the counter of the last signature that was accepted.

    Raises:
        ConsentError: with the reason.
    """
    try:
        envelope = _parse(armored)
    except Malformed as problem:
        raise _refused(f"it is not a security key's signature: {problem}") from problem
    signer = next((signer for signer in signers if signer.key == envelope.key), None)
    if envelope.namespace != NAMESPACE:
        raise _refused(f"it is for the namespace {envelope.namespace[:40]!r}, and {NAMESPACE!r} is needed")
    if signer is None:
        raise _refused(f"its key {envelope.key.fingerprint} is not among the {len(signers)} allowed signer(s)")
    if not envelope.flags & _USER_PRESENT:
        raise _refused(f"nobody touched the key when it signed (flags {envelope.flags:#04x})")
    if not envelope.flags & _USER_VERIFIED:
        raise _refused(f"the key was touched and not unlocked by PIN or finger (flags {envelope.flags:#04x})")
    if not envelope.key.signed(_signed_bytes(envelope, message), envelope.signature):
        raise _refused("it is over other bytes, or by another key")
    last = last_counters.get(envelope.key.fingerprint, 0)
    if envelope.counter <= last and (envelope.counter or last):
        raise _refused(
            f"the key counts {envelope.counter} signatures and counted {last} before: it is an old signature, or there "
            "is a copy of the key"
        )
    return HardwareSignature(signer=signer, counter=envelope.counter)


def _parse(armored: str) -> _Envelope:
    reader = Reader(_unarmored(armored))
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise Malformed("it does not begin with SSHSIG")
    version = reader.number()
    if version != 1:
        raise Malformed(f"it has version {version}")
    key = security_key(reader.string())
    namespace, reserved, hash_name = reader.text(), reader.string(), reader.text()
    if hash_name not in _HASHES:
        raise Malformed(f"it uses the hash {hash_name[:20]!r}")
    inner = Reader(reader.string())
    reader.end()
    kind = inner.text()
    if kind != key.kind:
        raise Malformed(f"the signature is of kind {kind[:60]!r} and the key of kind {key.kind!r}")
    signature, flags, counter = inner.string(), inner.take(1)[0], inner.number()
    inner.end()
    return _Envelope(key, namespace, reserved, hash_name, signature, flags, counter)


def _unarmored(armored: str) -> bytes:
    if len(armored) > _MAX_CHARACTERS:
        raise Malformed(f"it has {len(armored)} characters")
    lines = armored.strip().replace("\r\n", "\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise Malformed(f"it does not stand between {_BEGIN} and {_END}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as problem:
        raise Malformed("it is not base64") from problem


def _signed_bytes(envelope: _Envelope, message: bytes) -> bytes:
    digest = _HASHES[envelope.hash_name](message).digest()
    inner = b"".join(
        [
            _MAGIC,
            string(envelope.namespace.encode()),
            string(envelope.reserved),
            string(envelope.hash_name.encode()),
            string(digest),
        ]
    )
    # The security key signs its own view: application, flags and counter around a hash of what it was given.
    return b"".join(
        [
            hashlib.sha256(envelope.key.application.encode()).digest(),
            bytes([envelope.flags]),
            envelope.counter.to_bytes(4, "big"),
            hashlib.sha256(inner).digest(),
        ]
    )


def _refused(reason: str) -> ConsentError:
    return ConsentError(
        f"the signature is not accepted: {reason}",
        next_step=f"sign again with ssh-keygen -Y sign -n {NAMESPACE}, with a security key that asks for PIN and touch",
        effect="The instance was not destroyed.",
    )
