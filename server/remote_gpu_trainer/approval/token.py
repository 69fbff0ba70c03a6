"""The token that carries a consent from a person to one call: random, readable aloud, checked for typos."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

import rfc8785

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, so that nothing is heard or read as something else."""

RANDOM_CHARACTERS = 27
"""5 bits each: 135 random bits."""

_GROUP = 4
_LENGTH = RANDOM_CHARACTERS + 1
_HEARD_AS = str.maketrans({"O": "0", "I": "1", "L": "1"})
_SEPARATORS = str.maketrans("", "", " -\t\r\n\u2010\u2011\u2012\u2013\u2014")


class MistypedToken(ValueError):
    """Not a token: wrong length, wrong characters or a checksum that does not hold. Never holds what was typed."""


def mint() -> str:
    """A fresh token, in seven groups of four."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    whole = body + ALPHABET[_times_x(_remainder(body))]
    return "-".join(whole[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))


def derived(*, key: bytes, binding: Mapping[str, str]) -> str:
    """The token of a consent that is given beforehand: nobody is handed it, and whoever holds the key makes it again.

    Args:
        key: As for ``seal``.
        binding: What it is good for.
    """
    statement = rfc8785.dumps(dict(binding))
    number = int.from_bytes(hashlib.blake2b(statement, key=key, digest_size=32, person=b"rgt-beforehand").digest())
    body = "".join(ALPHABET[(number >> (5 * place)) & 31] for place in range(RANDOM_CHARACTERS))
    return body + ALPHABET[_times_x(_remainder(body))]


def normalise(typed: str) -> str:
    """The 28 characters that were meant: case, spaces and dashes do not count, O is 0, I and L are 1.

    Raises:
        MistypedToken: it cannot be a token that was ever minted.
    """
    given = typed.translate(_SEPARATORS)
    if len(given) != _LENGTH:
        raise MistypedToken(f"it has {len(given)} characters and a token has {_LENGTH}")
    plain = given.upper().translate(_HEARD_AS)
    if not given.isascii() or not set(plain) <= set(ALPHABET):
        raise MistypedToken("it holds characters that no token has")
    if _remainder(plain) != 0:
        raise MistypedToken("its last character, a checksum, does not fit the others")
    return plain


def seal(typed: str, *, key: bytes, salt: bytes, binding: Mapping[str, str]) -> bytes:
    """What is stored in place of a token: 32 bytes that only this token, for exactly this binding, gives again.

    Args:
        typed: The token, in any of the spellings that ``normalise`` takes.
        key: At most 64 bytes that are not in the database, so that no row made by hand can pass.
        salt: 16 random bytes of this request.
        binding: What the token is good for.

    Raises:
        MistypedToken: it is not a token.
    """
    statement = rfc8785.dumps({"token": normalise(typed), "binding": dict(binding)})
    return hashlib.blake2b(statement, key=key, salt=salt, digest_size=32, person=b"rgt-consent-v1").digest()


def same(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


def _times_x(value: int) -> int:
    # The field of 32 elements, modulo x^5 + x^2 + 1, which x generates.
    value <<= 1
    return value ^ 0b100101 if value & 0b100000 else value


def _remainder(text: str) -> int:
    # Each place has its own factor, never zero and never another's within 31 places: so every single wrong
    # character and every swap of two is seen.
    remainder = 0
    for character in text:
        remainder = _times_x(remainder) ^ ALPHABET.index(character)
    return remainder
