"""The sealed key opens with its passphrase, for its purpose, and with nothing else."""

import json

import pytest

from remote_gpu_trainer.approval.sealed import seal, unseal
from remote_gpu_trainer.errors import ConfigError, ConsentError, InvalidRequest

SECRET = "f00dfeed" * 8
PASSPHRASE = "five random words and \u00fcmlauts"
PURPOSE = "vast.ai destroy key of account 4242"
SEALED = seal(SECRET, PASSPHRASE, purpose=PURPOSE)


def test_a_key_comes_out_as_it_went_in_and_cannot_be_seen_in_the_file() -> None:
    assert unseal(SEALED, PASSPHRASE, purpose=PURPOSE) == SECRET
    assert SECRET.encode() not in SEALED and b"random words" not in SEALED
    assert json.loads(SEALED)["memory_kib"] == 65_536


def test_the_same_passphrase_in_another_form_of_unicode_opens_it() -> None:
    assert unseal(SEALED, PASSPHRASE.replace("\u00fc", "u\u0308"), purpose=PURPOSE) == SECRET


def test_sealing_twice_gives_two_files() -> None:
    again = json.loads(seal(SECRET, PASSPHRASE, purpose=PURPOSE))
    once = json.loads(SEALED)
    assert all(again[part] != once[part] for part in ("salt", "nonce", "box"))


@pytest.mark.parametrize("wrong", ["", "five random words", PASSPHRASE + " ", PASSPHRASE.upper()])
def test_a_wrong_passphrase_opens_nothing_and_is_not_repeated(wrong: str) -> None:
    with pytest.raises(ConsentError, match=r"does not open.*nothing was destroyed") as caught:
        unseal(SEALED, wrong, purpose=PURPOSE)
    assert not wrong or wrong not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("part", "value"),
    [("salt", "AAAAAAAAAAAAAAAAAAAAAA=="), ("nonce", "AAAAAAAAAAAAAAAA"), ("passes", 4), ("memory_kib", 32_768)],
)
def test_no_part_of_the_file_can_be_exchanged(part: str, value: object) -> None:
    with pytest.raises(ConsentError, match="does not open"):
        unseal(json.dumps({**json.loads(SEALED), part: value}).encode(), PASSPHRASE, purpose=PURPOSE)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("memory_kib", 8),
        ("memory_kib", 1 << 30),
        ("passes", 1),
        ("passes", 10**6),
        ("kdf", "pbkdf2"),
        ("cipher", "none"),
        ("box", ""),
        ("box", "AAAA"),
        ("salt", "A"),
        ("version", 2),
        ("extra", 1),
    ],
)
def test_a_file_that_would_weaken_it_or_take_all_memory_is_refused(part: str, value: object) -> None:
    with pytest.raises(ConfigError, match="damaged or is none"):
        unseal(json.dumps({**json.loads(SEALED), part: value}).encode(), PASSPHRASE, purpose=PURPOSE)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", SEALED.replace(b'"salt"', b'"lanes":4,"salt"')])
def test_what_is_no_sealed_key_is_said(content: bytes) -> None:
    with pytest.raises(ConfigError, match="rgt approve --enroll sealed"):
        unseal(content, PASSPHRASE, purpose=PURPOSE)


def test_a_key_for_another_purpose_is_not_opened() -> None:
    with pytest.raises(ConfigError, match="account 4242"):
        unseal(SEALED, PASSPHRASE, purpose="vast.ai destroy key of account 7")


@pytest.mark.parametrize(
    ("secret", "passphrase"), [("", PASSPHRASE), (SECRET, ""), (SECRET, "short"), (SECRET, "u\u0308" * 11)]
)
def test_a_weak_passphrase_or_nothing_to_seal_is_refused(secret: str, passphrase: str) -> None:
    with pytest.raises(InvalidRequest, match="Nothing was sealed"):
        seal(secret, passphrase, purpose=PURPOSE)
