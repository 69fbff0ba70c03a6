"""A key that only a passphrase opens: Argon2id makes the key of it, ChaCha20-Poly1305 seals what is inside."""

import base64
import os
import unicodedata
from typing import TYPE_CHECKING, Literal

import rfc8785
from pydantic import Field, ValidationError

from remote_gpu_trainer.approval.strictjson import NotOneMeaning, strict_object
from remote_gpu_trainer.database.text import dump
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import ConfigError, ConsentError, InvalidRequest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

LEAST_PASSPHRASE = 12
"""Characters. The file may be copied and tried offline, at some ten tries per second and core."""

_EFFECT = "Nothing was unsealed, and nothing was destroyed."


class SealedKey(Value):
    """The file. Everything but ``box`` is bound into the box, so that none of it can be exchanged."""

    version: Literal[1] = 1
    purpose: str
    """What the key is for, for example ``vast.ai destroy key of account 4242``."""
    kdf: Literal["argon2id"] = "argon2id"
    memory_kib: int = Field(default=65_536, ge=19_456, le=1_048_576)
    """RFC 9106's second choice; the bounds keep a foreign file from weakening it or from taking all memory."""
    passes: int = Field(default=3, ge=2, le=16)
    lanes: int = Field(default=4, ge=1, le=16)
    salt: str
    cipher: Literal["chacha20-poly1305"] = "chacha20-poly1305"
    nonce: str
    box: str = ""


def seal(secret: str, passphrase: str, *, purpose: str) -> bytes:
    """Seal a secret; the result is a small JSON file.

    Raises:
        InvalidRequest: the passphrase is too short, or there is nothing to seal.
    """
    if not secret:
        raise InvalidRequest("there is no key to seal", effect="Nothing was sealed.")
    if len(_normal(passphrase)) < LEAST_PASSPHRASE:
        raise InvalidRequest(
            f"the passphrase has fewer than {LEAST_PASSPHRASE} characters",
            next_step="take a longer one, for example five random words",
            effect="Nothing was sealed.",
        )
    empty = SealedKey(purpose=purpose, salt=_text(os.urandom(16)), nonce=_text(os.urandom(12)))
    box = _cipher(empty, passphrase).encrypt(_bytes(empty.nonce), secret.encode(), _bound(empty))
    return dump(empty.model_copy(update={"box": _text(box)})).encode() + b"\n"


def unseal(content: bytes, passphrase: str, *, purpose: str) -> str:
    """Open what ``seal`` made.

    Raises:
        ConfigError: it is no such file, or for another purpose.
        ConsentError: the passphrase is wrong, or the file was altered.
    """
    from cryptography.exceptions import InvalidTag

    sealed = _parse(content)
    if sealed.purpose != purpose:
        raise ConfigError(
            f"the sealed key is for {sealed.purpose!r}, and {purpose!r} is needed",
            next_step="use the file that rgt approve --enroll sealed made for this account",
            effect=_EFFECT,
        )
    try:
        return _cipher(sealed, passphrase).decrypt(_bytes(sealed.nonce), _bytes(sealed.box), _bound(sealed)).decode()
    except InvalidTag:
        # Without "from": nothing of the attempt belongs into a traceback.
        raise ConsentError(
            "the passphrase does not open the sealed key, or the file was altered",
            next_step="type the passphrase again, in your own terminal and nowhere else",
            effect=_EFFECT,
        ) from None


def purpose_in(content: bytes) -> str:
    """What the key in such a file is for. Nothing is opened, so the file alone proves nothing.

    Raises:
        ConfigError: it is no such file.
    """
    return _parse(content).purpose


def _parse(content: bytes) -> SealedKey:
    try:
        sealed = SealedKey.model_validate(strict_object(content))
        if (len(_bytes(sealed.salt)), len(_bytes(sealed.nonce))) != (16, 12) or len(_bytes(sealed.box)) <= 16:
            raise NotOneMeaning("its salt, nonce or box has another length")
    except (NotOneMeaning, ValidationError, ValueError) as problem:
        raise ConfigError(
            "the sealed key file is damaged or is none",
            next_step="rgt approve --enroll sealed again; the key itself can be made anew in the platform's console",
            effect=_EFFECT,
        ) from problem
    return sealed


def _cipher(sealed: SealedKey, passphrase: str) -> "ChaCha20Poly1305":
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    kdf = Argon2id(
        salt=_bytes(sealed.salt),
        length=32,
        iterations=sealed.passes,
        lanes=sealed.lanes,
        memory_cost=sealed.memory_kib,
    )
    return ChaCha20Poly1305(kdf.derive(_normal(passphrase).encode()))


def _bound(sealed: SealedKey) -> bytes:
    return rfc8785.dumps(sealed.model_dump(mode="json", exclude={"box"}))


def _normal(passphrase: str) -> str:
    # The same passphrase typed on two systems can come in two forms of Unicode.
    return unicodedata.normalize("NFC", passphrase)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
