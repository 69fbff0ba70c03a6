"""What the platform's status message gives away. It is untrusted text: it is classified, and never quoted."""

import re
from enum import StrEnum


class Complaint(StrEnum):
    """Why a container does not start, by the words of the container runtime."""

    CUDA = "cuda"
    """The image asks for a newer CUDA than the driver has."""
    NO_IMAGE = "no-image"
    """The registry does not have it, or does not give it to strangers."""
    REFUSED = "refused"
    """Any other error of the daemon."""


_WORDS: tuple[tuple[Complaint, re.Pattern[str]], ...] = (
    (Complaint.CUDA, re.compile(r"unsatisfied condition: cuda|cuda driver version is insufficient", re.IGNORECASE)),
    (
        Complaint.NO_IMAGE,
        re.compile(r"manifest unknown|manifest for \S+ not found|pull access denied|repository does not exist", re.I),
    ),
    (Complaint.REFUSED, re.compile(r"error response from daemon|oci runtime create failed", re.IGNORECASE)),
)
_OUT_BID = re.compile(r"\bout[\s-]?bid\b", re.IGNORECASE)


def complaint(message: str | None) -> Complaint | None:
    """The first complaint whose words are in the message."""
    return next((kind for kind, words in _WORDS if words.search(message or "")), None)


def speaks_of_out_bid(message: str | None) -> bool:
    """Whether the message names an out-bid."""
    return bool(_OUT_BID.search(message or ""))
