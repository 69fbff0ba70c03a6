"""What a store's errors mean here. botocore's have no parent of their own but Exception."""

from typing import Any, cast

from remote_gpu_trainer.errors import TransferError

UNTOUCHED = "No object that was there before was replaced by unproven bytes, and the local copy is whole."
ASKED_TOO_MUCH = frozenset({"SlowDown", "Throttling", "RequestTimeout", "RequestTimeTooSkewed"})
"""Refusals of this moment, not of the request."""


def code_of(bad: BaseException) -> str | None:
    """The store's own code for a refusal; None when it did not answer."""
    answer = cast("dict[str, Any] | None", getattr(bad, "response", None))
    return None if answer is None else str(answer.get("Error", {}).get("Code"))


def status_of(bad: BaseException) -> int | None:
    """The HTTP status of a refusal; None when the store did not answer."""
    answer = cast("dict[str, Any] | None", getattr(bad, "response", None))
    return None if answer is None else int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def failed(what: str, bad: Exception) -> TransferError:
    """The error of this package. ``details["refused"]``: the store answered, and asking again changes nothing."""
    text = "".join(c if c.isprintable() else " " for c in str(bad))[:300]
    status = status_of(bad)
    refused = status is not None and (400 <= status < 500 or status == 501) and code_of(bad) not in ASKED_TOO_MUCH
    return TransferError(
        f"{what}: {type(bad).__name__}: {text}",
        next_step="check the bucket's name, the AWS_* variables and the key's rights (read and write objects), then "
        "call copy_out again: it goes on",
        effect=UNTOUCHED,
        details={"refused": refused},
    )
