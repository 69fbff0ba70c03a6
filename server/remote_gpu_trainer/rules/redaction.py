"""Taking credentials out of text before a model, a log or the journal sees it."""

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote

from remote_gpu_trainer.rules.secrets import FORMATS

LONG_LINE = 16
MOST_ESCAPES = 3
"""The machine may print JSON, our fence doubles backslashes, and the answer is JSON again."""
SHORTEST = 6
"""A known secret below this length would redact ordinary words."""


def redact(text: str, known: Iterable[str] = ()) -> str:
    """The text with credentials replaced by ``[redacted ...]``.

    Args:
        text: Anything on its way out.
        known: Values of secrets that were handed over by name; also found URL-quoted and in base64.
    """
    forms = {form for value in known if len(value) >= SHORTEST for form in _forms(value) if len(form) >= SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[redacted secret]")
    for kind, pattern in FORMATS:
        text = pattern.sub(f"[redacted {kind}]", text)
    return text


def _forms(value: str) -> set[str]:
    raw = value.encode()
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    # A key of several lines comes back from a log line by line.
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_LINE}
    plain = {value, value.strip(), *lines}
    for _ in range(MOST_ESCAPES):
        plain |= {escaped for form in plain for escaped in _escaped(form)}
    return {*plain, quote(value, safe=""), *encoded, *(form.rstrip("=") for form in encoded)}


def _escaped(form: str) -> tuple[str, str, str]:
    """As JSON, as JSON in ASCII, and as our own fence writes it."""
    return json.dumps(form, ensure_ascii=False)[1:-1], json.dumps(form)[1:-1], form.replace("\\", "\\\\")
