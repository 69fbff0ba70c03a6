"""A security key's signature counts when a person touched and unlocked the key, for this, and the key is pinned."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.sshkeys import AllowedSigner, parse_allowed_signers
from remote_gpu_trainer.approval.sshsig import HardwareSignature, verify_signature
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.domain.approvals import ApprovalState, AssuranceLevel, Channel
from remote_gpu_trainer.errors import ConfigError, ConsentError
from remote_gpu_trainer.journal import SqliteJournal
from tests.unit.approval.securitykey import Kind, SoftKey
from tests.unit.database.builders import LEASE, a_teardown

MESSAGE = b'{"plan":"abc"}'
KINDS: list[Kind] = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
KEY = SoftKey()


def pinned(*keys: SoftKey) -> tuple[AllowedSigner, ...]:
    return parse_allowed_signers("\n".join(key.line for key in keys))


def verify(armored: str, *keys: SoftKey, message: bytes = MESSAGE, last: int = 0) -> HardwareSignature:
    signers = pinned(*keys)
    return verify_signature(
        armored, message, signers=signers, last_counters={signer.fingerprint: last for signer in signers}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_a_touched_and_unlocked_pinned_key_is_accepted(kind: Kind, hash_name: str) -> None:
    key = SoftKey(kind)
    held = verify(key.sign(MESSAGE, hash_name=hash_name), SoftKey(), key)
    assert (held.signer.name, held.counter) == ("ada@example.org", 7)
    assert held.signer.fingerprint.startswith("SHA256:")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("flags", "reason"),
    [(0x00, "nobody touched"), (0x01, "touched and not unlocked"), (0x04, "nobody touched"), (0x80, "nobody touched")],
)
def test_a_signature_without_touch_or_without_unlocking_is_refused(kind: Kind, flags: int, reason: str) -> None:
    key = SoftKey(kind)
    with pytest.raises(ConsentError, match=reason):
        verify(key.sign(MESSAGE, flags=flags), key)


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_reads_the_same_signatures_and_accepts_one_that_nobody_touched(kind: Kind, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = SoftKey(kind)
    (tmp_path / "signers").write_text(key.line + "\n")
    for flags in (0x05, 0x00):
        (tmp_path / "sig").write_text(key.sign(MESSAGE, flags=flags))
        command = ["ssh-keygen", "-Y", "verify", "-n", "gpu-destroy-v1", "-I", "ada@example.org"]
        ended = subprocess.run(
            [*command, "-f", str(tmp_path / "signers"), "-s", str(tmp_path / "sig")],
            input=MESSAGE,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
    with pytest.raises(ConsentError, match="nobody touched"):
        verify(key.sign(MESSAGE, flags=0x00), key)


@pytest.mark.parametrize(
    ("armored", "reason"),
    [
        (KEY.sign(MESSAGE, namespace="file"), "namespace 'file'"),
        (KEY.sign(MESSAGE, namespace="gpu-destroy-v2"), "namespace"),
        (KEY.sign(MESSAGE, claimed_flags=0x05, flags=0x00), "over other bytes"),
        (KEY.sign(b"another statement"), "over other bytes"),
        (SoftKey().sign(MESSAGE), "not among the 1 allowed"),
        (KEY.sign(MESSAGE, version=2), "version 2"),
        (KEY.sign(MESSAGE, trailing=b"x"), "1 byte"),
        (KEY.sign(MESSAGE, hash_name="md5"), "hash 'md5'"),
        ("", "stand between"),
        ("-----BEGIN SSH SIGNATURE-----\n!!!\n-----END SSH SIGNATURE-----", "not base64"),
        (f"x\n{KEY.sign(MESSAGE)}", "stand between"),
        ("x" * 20_000, "20000 characters"),
    ],
)
def test_anything_else_is_refused_with_its_reason(armored: str, reason: str) -> None:
    with pytest.raises(ConsentError, match=rf"{reason}.*The instance was not destroyed"):
        verify(armored, KEY)


def test_a_plain_ssh_key_is_refused_since_no_touch_guards_it(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = tmp_path / "id"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20, capture_output=True
    )
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "gpu-destroy-v1", "-f", str(key)],
        input=MESSAGE,
        check=True,
        timeout=20,
        capture_output=True,
    )
    with pytest.raises(ConsentError, match="no touch guards"):
        verify(signed.stdout.decode(), KEY)
    with pytest.raises(ConfigError, match="no touch guards"):
        parse_allowed_signers("ada " + (tmp_path / "id.pub").read_text())


@pytest.mark.parametrize(("last", "counter", "accepted"), [(6, 7, True), (7, 7, False), (8, 7, False), (0, 0, True)])
def test_a_counter_that_does_not_grow_speaks_of_a_copied_key(last: int, counter: int, accepted: bool) -> None:
    armored = KEY.sign(MESSAGE, counter=counter)
    if accepted:
        assert verify(armored, KEY, last=last).counter == counter
    else:
        with pytest.raises(ConsentError, match="copy of the key"):
            verify(armored, KEY, last=last)


@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_no_changed_byte_is_ever_accepted(place: int, change: int) -> None:
    begin, *lines, end = KEY.sign(MESSAGE).strip().split("\n")
    wire = bytearray(base64.b64decode("".join(lines)))
    wire[place % len(wire)] ^= change
    with pytest.raises(ConsentError):
        verify("\n".join([begin, base64.b64encode(wire).decode(), end]), KEY)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ada", "fewer than three"),
        (f"* {KEY.line.split(' ', 1)[1]}", "pattern"),
        (f"a,b {KEY.line.split(' ', 1)[1]}", "pattern"),
        (f'ada namespaces="file" {KEY.line.split(" ", 1)[1]}', "option"),
        (f"ada cert-authority {KEY.line.split(' ', 1)[1]}", "option"),
        ("ada sk-ssh-ed25519@openssh.com !!!!", "line 2"),
        (f"ada sk-ecdsa-sha2-nistp256@openssh.com {KEY.line.split(' ')[2]}", "another kind"),
    ],
)
def test_a_list_with_one_bad_line_allows_nobody(line: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_allowed_signers(f"{KEY.line}\n{line}\n")


def test_comments_and_empty_lines_are_no_signers() -> None:
    assert len(parse_allowed_signers(f"# mine\n\n{KEY.line} a comment\n")) == 1
    with pytest.raises(ConsentError, match="not among the 0 allowed"):
        verify(KEY.sign(MESSAGE))


def test_a_signature_over_the_statement_approves_at_level_hardware(
    book: SqliteApprovalBook, journal: SqliteJournal
) -> None:
    request = book.request(a_teardown(), ttl_s=900)
    token = book.approve_signed(request.id, KEY.sign(statement_of(request, pinned(KEY))), signers=pinned(KEY))
    consent, _ = book.spend(request.id, token, plan_digest=request.plan_digest, lease=LEASE, request={})
    assert (consent.assurance, consent.channel) == (AssuranceLevel.HARDWARE, Channel.TERMINAL)
    assert str(journal.events(LEASE, kind="approval.approved")[0].data["approver"]).startswith(
        "ada@example.org SHA256:"
    )


def test_a_signature_for_one_request_opens_no_other_and_its_counter_is_remembered(book: SqliteApprovalBook) -> None:
    first = book.request(a_teardown(nonce="n1"), ttl_s=900)
    signature = KEY.sign(statement_of(first, pinned(KEY)), counter=9)
    book.approve_signed(first.id, signature, signers=pinned(KEY))
    second = book.request(a_teardown(nonce="n2"), ttl_s=900)
    with pytest.raises(ConsentError, match="over other bytes"):
        book.approve_signed(second.id, signature, signers=pinned(KEY))
    with pytest.raises(ConsentError, match="copy of the key"):
        book.approve_signed(second.id, KEY.sign(statement_of(second, pinned(KEY)), counter=9), signers=pinned(KEY))
    known = book.get(second.id)
    assert known is not None and known.state is ApprovalState.OPEN
    book.approve_signed(second.id, KEY.sign(statement_of(second, pinned(KEY)), counter=10), signers=pinned(KEY))


def test_a_signature_given_before_another_signer_was_pinned_is_over_another_statement(book: SqliteApprovalBook) -> None:
    request = book.request(a_teardown(nonce="of-one-signer"), ttl_s=900)
    signature = KEY.sign(statement_of(request, pinned(KEY)))
    with pytest.raises(ConsentError, match="over other bytes"):
        book.approve_signed(request.id, signature, signers=pinned(KEY, SoftKey()))
