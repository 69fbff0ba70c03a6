"""Taking credentials out of text before a model, a log or the journal sees it."""

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote

from remote_gpu_trainer.rules.secrets import FORMATS

LONG_LINE = 16
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
    quoted = json.dumps(value)[1:-1]
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    # A key of several lines comes back from a log line by line.
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= LONG_LINE}
    return {
        *(value, value.strip(), quoted, json.dumps(quoted)[1:-1], quote(value, safe="")),
        *lines,
        *encoded,
        *(form.rstrip("=") for form in encoded),
    }
