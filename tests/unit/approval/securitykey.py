"""A security key in software: signs as the hardware would, with whatever flags and counter a test asks for."""

import base64
import hashlib
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Kind = Literal["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
TOUCHED_AND_UNLOCKED = 0x05


def string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


class SoftKey:
    def __init__(self, kind: Kind = "sk-ssh-ed25519@openssh.com", application: str = "ssh:") -> None:
        self.kind = kind
        self.application = application.encode()
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.ec = ec.generate_private_key(ec.SECP256R1())

    @property
    def blob(self) -> bytes:
        if self.kind == "sk-ssh-ed25519@openssh.com":
            point = string(self.ed.public_key().public_bytes_raw())
        else:
            plain = self.ec.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            point = string(b"nistp256") + string(plain)
        return string(self.kind.encode()) + point + string(self.application)

    @property
    def line(self) -> str:
        return f"ada@example.org {self.kind} {base64.b64encode(self.blob).decode()}"

    def sign(
        self,
        message: bytes,
        *,
        flags: int = TOUCHED_AND_UNLOCKED,
        claimed_flags: int | None = None,
        counter: int = 7,
        namespace: str = "gpu-destroy-v1",
        version: int = 1,
        trailing: bytes = b"",
        hash_name: str = "sha512",
    ) -> str:
        digest = hashlib.new(hash_name if hash_name in hashlib.algorithms_available else "sha512", message).digest()
        head = string(namespace.encode()) + string(b"") + string(hash_name.encode())
        inner = b"SSHSIG" + head + string(digest)
        counted = bytes([flags]) + counter.to_bytes(4, "big")
        content = hashlib.sha256(self.application).digest() + counted + hashlib.sha256(inner).digest()
        if self.kind == "sk-ssh-ed25519@openssh.com":
            signature = self.ed.sign(content)
        else:
            r, s = utils.decode_dss_signature(self.ec.sign(content, ec.ECDSA(SHA256())))
            signature = mpint(r) + mpint(s)
        claimed = bytes([flags if claimed_flags is None else claimed_flags]) + counter.to_bytes(4, "big")
        wire = b"".join(
            [
                b"SSHSIG",
                version.to_bytes(4, "big"),
                string(self.blob),
                head,
                string(string(self.kind.encode()) + string(signature) + claimed),
                trailing,
            ]
        )
        text = base64.b64encode(wire).decode()
        lines = [text[start : start + 70] for start in range(0, len(text), 70)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])
