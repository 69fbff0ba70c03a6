"""A security key on the terminal: after the name, the key signs, and only then is there a token."""

import shlex
import sys
from pathlib import Path

import pytest

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.hardware import by_security_key
from remote_gpu_trainer.approval.sshkeys import parse_allowed_signers
from remote_gpu_trainer.domain.approvals import ApprovalRequest, ApprovalState
from remote_gpu_trainer.errors import ConfigError, ConsentError
from tests.unit.approval.securitykey import SoftKey
from tests.unit.database.builders import LEASE, a_teardown

ROOT = Path(__file__).parents[3]

STAND_IN = """#!/bin/sh
exec {python} - "$@" 3<&0 <<'END'
import os, sys
sys.path.insert(0, {root!r})
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.unit.approval.securitykey import SoftKey
assert sys.argv[1:6] == ["-Y", "sign", "-n", "gpu-destroy-v1", "-f"], sys.argv
key = SoftKey()
key.ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(open(sys.argv[6]).read()))
print(key.sign(os.fdopen(3, "rb").read(), flags={flags}), end="")
END
"""


@pytest.fixture
def key(tmp_path: Path) -> SoftKey:
    """A key whose handle lies in a file, as that of a security key does."""
    key = SoftKey()
    (tmp_path / "id_sk").write_text(key.ed.private_bytes_raw().hex())
    return key


def program(folder: Path, *, flags: int = 5) -> str:
    path = folder / "ssh-keygen"
    path.write_text(STAND_IN.format(python=shlex.quote(sys.executable), root=str(ROOT), flags=flags))
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def asked(book: SqliteApprovalBook) -> ApprovalRequest:
    return book.request(a_teardown(), ttl_s=900)


def test_a_key_that_was_touched_and_unlocked_gives_a_token(
    book: SqliteApprovalBook, asked: ApprovalRequest, key: SoftKey, tmp_path: Path
) -> None:
    grant = by_security_key(
        book, tmp_path / "id_sk", signers=parse_allowed_signers(key.line), program=program(tmp_path)
    )
    (signer,) = parse_allowed_signers(key.line)
    consent, _ = book.spend(asked.id, grant(asked), plan_digest=asked.plan_digest, lease=LEASE, request={})
    assert consent.approver == signer.title == f"{signer.name} {signer.fingerprint}"


@pytest.mark.parametrize(("flags", "reason"), [(0, "nobody touched"), (1, "not unlocked")])
def test_a_key_that_was_not_leaves_the_question_open(
    book: SqliteApprovalBook, asked: ApprovalRequest, key: SoftKey, tmp_path: Path, flags: int, reason: str
) -> None:
    grant = by_security_key(
        book, tmp_path / "id_sk", signers=parse_allowed_signers(key.line), program=program(tmp_path, flags=flags)
    )
    with pytest.raises(ConsentError, match=reason):
        grant(asked)
    known = book.get(asked.id)
    assert known is not None and known.state is ApprovalState.OPEN


def test_a_removed_signer_signs_in_vain(
    book: SqliteApprovalBook, asked: ApprovalRequest, key: SoftKey, tmp_path: Path
) -> None:
    others = parse_allowed_signers(SoftKey().line)
    with pytest.raises(ConsentError, match="not among the 1 allowed"):
        by_security_key(book, tmp_path / "id_sk", signers=others, program=program(tmp_path))(asked)


@pytest.mark.parametrize(
    ("command", "error", "reason"),
    [
        ("false", ConsentError, "ended with status 1 and signed nothing"),
        ("true", ConsentError, "is not a security key's signature"),
        ("/nonexistent/ssh-keygen", ConfigError, "cannot be run"),
    ],
)
def test_a_program_that_signs_nothing_approves_nothing(
    book: SqliteApprovalBook, asked: ApprovalRequest, command: str, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        by_security_key(book, Path("id_sk"), signers=(), program=command)(asked)


def test_waiting_for_a_touch_has_an_end(book: SqliteApprovalBook, asked: ApprovalRequest, tmp_path: Path) -> None:
    waiting = tmp_path / "waits"
    waiting.write_text("#!/bin/sh\nexec sleep 30\n")
    waiting.chmod(0o700)
    with pytest.raises(ConsentError, match="not touched within"):
        by_security_key(book, Path("id_sk"), signers=(), program=str(waiting), patience_s=0.2)(asked)
