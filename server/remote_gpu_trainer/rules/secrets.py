"""Finding credentials in text by the formats of common providers and by entropy. Values are never kept."""

import re

from remote_gpu_trainer.rules.facts import SecretSighting

_FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("hugging-face-token", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    ("aws-access-key-id", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("github-token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("private-key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")),
)


def find_secrets(text: str, place: str) -> tuple[SecretSighting, ...]:
    """Where in a text something looks like a credential, line by line."""
    return tuple(
        SecretSighting(place=f"{place} line {number}", kind=kind)
        for number, line in enumerate(text.splitlines(), start=1)
        for kind, pattern in _FORMATS
        if pattern.search(line)
    )
