"""Taking credentials out of text before a model, a log or the journal sees it."""

import base64
from collections.abc import Iterable
from urllib.parse import quote

from remote_gpu_trainer.rules.secrets import FORMATS

SHORTEST = 6
"""A known secret below this length would redact ordinary words."""


def redact(text: str, known: Iterable[str] = ()) -> str:
    """The text with credentials replaced by ``[redacted ...]``.

    Args:
        text: Anything on its way out.
        known: Values of secrets that were handed over by name; also found URL-quoted and in base64.
    """
    forms = {form for value in known if len(value) >= SHORTEST for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[redacted secret]")
    for kind, pattern in FORMATS:
        text = pattern.sub(f"[redacted {kind}]", text)
    return text


def _forms(value: str) -> set[str]:
    raw = value.encode()
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    return {value, quote(value, safe=""), *encoded, *(form.rstrip("=") for form in encoded)}
