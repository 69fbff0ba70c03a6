"""Having a security key sign: ``ssh-keygen`` asks for PIN and touch on the person's own terminal."""

import subprocess
from pathlib import Path

from remote_gpu_trainer.approval.book import SqliteApprovalBook
from remote_gpu_trainer.approval.sshkeys import AllowedSigner
from remote_gpu_trainer.approval.sshsig import NAMESPACE
from remote_gpu_trainer.approval.statement import statement_of
from remote_gpu_trainer.approval.terminal import Grant
from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.errors import ConfigError, ConsentError

_PATIENCE_S = 120.0


def by_security_key(
    book: SqliteApprovalBook,
    key_file: Path,
    *,
    signers: tuple[AllowedSigner, ...],
    program: str = "ssh-keygen",
    patience_s: float = _PATIENCE_S,
) -> Grant:
    """A grant for ``approve_on_terminal``: the token is minted once the key has signed the request's statement.

    Args:
        book: Where the request is.
        key_file: The key's handle, for example ``~/.ssh/id_ed25519_sk``.
        signers: The pinned keys.
        program: OpenSSH's ssh-keygen.
        patience_s: Seconds to wait for PIN and touch.

    The grant raises ConsentError when nothing was signed or the signature is not accepted, and ConfigError when there
    is no such program. The request stays open then.
    """

    def grant(request: ApprovalRequest) -> str:
        return book.approve_signed(request.id, _signed(statement_of(request, signers)), signers=signers)

    def _signed(statement: bytes) -> str:
        try:
            ended = subprocess.run(
                [program, "-Y", "sign", "-n", NAMESPACE, "-f", str(key_file)],
                input=statement,
                stdout=subprocess.PIPE,
                timeout=patience_s,
                check=False,
            )
        except OSError as problem:
            raise ConfigError(
                f"{program} cannot be run: {problem.strerror}",
                next_step="install OpenSSH 8.2 or newer",
                effect="Nothing was approved.",
            ) from problem
        except subprocess.TimeoutExpired as problem:
            raise _unsigned(f"the security key was not touched within {patience_s:.0f} s") from problem
        if ended.returncode != 0:
            raise _unsigned(f"{program} ended with status {ended.returncode} and signed nothing")
        return ended.stdout.decode("ascii", "replace")

    return grant


def _unsigned(seen: str) -> ConsentError:
    return ConsentError(
        seen,
        next_step="plug the key in and run rgt approve again; the question is still open",
        effect="Nothing was approved.",
    )
