"""A passkey in software: registers and signs as an authenticator would, with whatever a test wants to be wrong."""

import base64
import hashlib
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from remote_gpu_trainer.approval.passkey import challenge_of
from remote_gpu_trainer.domain.approvals import ApprovalRequest

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class SoftPasskey:
    """One credential on the curve P-256, for the relying party ``localhost``."""

    def __init__(self, credential_id: bytes = b"soft-passkey-one") -> None:
        self.id = credential_id
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def cose(self) -> bytes:
        numbers = self.key.public_key().public_numbers()
        return cbor2.dumps({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})

    @property
    def title(self) -> str:
        return f"passkey {hashlib.sha256(b64(self.cose).encode()).hexdigest()}"

    def challenge(self, request: ApprovalRequest) -> bytes:
        """Of the page that knows this passkey alone."""
        return challenge_of(request, [self])

    def registration(
        self, challenge: bytes, origin: str, *, flags: int = PRESENT | VERIFIED, rp_id: str = "localhost"
    ) -> str:
        """What a browser hands over after ``navigator.credentials.create``."""
        head = hashlib.sha256(rp_id.encode()).digest() + bytes([flags | ATTESTED]) + (1).to_bytes(4, "big")
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + self.cose
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": head + attested})
        client = _client_data("webauthn.create", challenge, origin)
        return self._credential({"clientDataJSON": b64(client), "attestationObject": b64(attestation)})

    def assertion(
        self,
        challenge: bytes,
        origin: str,
        *,
        flags: int = PRESENT | VERIFIED,
        counter: int = 2,
        rp_id: str = "localhost",
        kind: str = "webauthn.get",
        forged: bool = False,
        **more: Any,
    ) -> str:
        """What a browser hands over after ``navigator.credentials.get``."""
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")
        client = _client_data(kind, challenge, origin, **more)
        key = ec.generate_private_key(ec.SECP256R1()) if forged else self.key
        signature = key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
        )

    def _credential(self, response: dict[str, str]) -> str:
        return json.dumps(
            {
                "id": b64(self.id),
                "rawId": b64(self.id),
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
            }
        )


def _client_data(kind: str, challenge: bytes, origin: str, **more: Any) -> bytes:
    return json.dumps({"type": kind, "challenge": b64(challenge), "origin": origin, **more}).encode()
