"""Finding credentials in text by the formats of common providers and by entropy. Values are never kept."""

import base64
import binascii
import math
import re
import zlib
from collections import Counter

from remote_gpu_trainer.rules.facts import SecretSighting

FORMATS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("private-key", re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")),
    ("hugging-face-token", re.compile(r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{30,}")),
    ("aws-access-key-id", re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])")),
    (
        "github-token",
        re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})"),
    ),
    ("gitlab-token", re.compile(r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,}")),
    ("anthropic-key", re.compile(r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{20,}")),
    ("openai-key", re.compile(r"(?<![A-Za-z0-9])sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}")),
    ("google-api-key", re.compile(r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    ("google-refresh-token", re.compile(r"(?<![A-Za-z0-9])(?:ya29\.|1//0)[A-Za-z0-9_-]{30,}")),
    ("slack-token", re.compile(r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}")),
    ("stripe-key", re.compile(r"(?<![A-Za-z0-9])[sr]k_(?:live|test)_[A-Za-z0-9]{20,}")),
    ("pypi-token", re.compile(r"(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{40,}")),
    ("npm-token", re.compile(r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}")),
    ("docker-token", re.compile(r"(?<![A-Za-z0-9])dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}")),
    ("digitalocean-token", re.compile(r"(?<![A-Za-z0-9])do[opr]_v1_[a-f0-9]{64}")),
    ("wandb-v1-key", re.compile(r"(?<![A-Za-z0-9])wandb_v1_[A-Za-z0-9_-]{20,}")),
    (
        "json-web-token",
        re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    ),
)
"""Formats of credentials that tell what they are by themselves."""
# Every repetition is bounded: the text is anything at all, and scanning it must stay linear.
_URL = re.compile(r"://[^\s/:@'\"<>]{0,80}:(?P<value>[^\s/@'\"<>]{6,200})@", re.IGNORECASE)
_LOGIN = re.compile(
    r"(?:^|\s)(?:-p|--password|--api-key|--token|-u[ \t]{1,4}\S{1,80}[ \t]{1,4}-p)[= \t]{1,4}(?P<value>[^\s'\"]{6,400})"
)
_HEADER = re.compile(
    r"(?:Authorization|Bearer|X-Api-Key)['\"]?[ \t]{0,4}[:=]?[ \t]{0,4}['\"]?"
    r"(?:Bearer|Basic|Token)?[ \t]{1,4}(?P<value>\S{16,400})"
)
_ASSIGNED = re.compile(
    r"(?:secret|token|passw(?:or)?d|passphrase|api[_-]?key|apikey|access[_-]?key|private[_-]?key"
    r"|credential|auth[_-]?key|account[_-]?key)[A-Za-z0-9_.-]{0,40}"
    r"\\?['\"]?[ \t]{0,8}(?:=>|[:= \t])[ \t]{0,8}\\?['\"]?(?P<value>[^\s'\"\\,;)}<>]{8,400})",
    re.IGNORECASE,
)
_NETRC = re.compile(
    r"\bmachine[ \t]{1,4}\S{1,200}[ \t]{1,4}login[ \t]{1,4}\S{1,200}[ \t]{1,4}password[ \t]{1,4}(?P<value>\S{6,400})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_BASE64_LINE = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_SECRET_FILE = re.compile(
    r"(?:^|/)(?:\.env(?:\.[\w-]+)?|\.netrc|_netrc|\.pgpass|\.git-credentials|\.npmrc|\.pypirc|\.htpasswd|kaggle\.json"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|vast_api_key|\.vast_api_key|credentials\.json|service[-_]account[\w-]*\.json"
    r"|\.aws/(?:credentials|config)|\.docker/config\.json|\.kube/config|\.config/gcloud/.+|huggingface/(?:token|stored_tokens)"
    r"|rclone\.conf|[^/]+\.(?:pem|p12|pfx|keystore|jks|kdbx))$"
)
_PLACEHOLDER = re.compile(
    r"\$[\w{(]|^%\w|^<|^\{\{|^\*+$|^x{3,}|^your|example|changeme|placeholder|dummy|redacted|^\.\.\.|^os\.|getenv|environ"
    r"|^none$|^null$|^true$|^false$|^pass(?:word|wd|phrase)?$|^secret$|^pwd$",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"[(\[]|^[A-Za-z_]+(?:\.(?:[A-Za-z_]\w*|\d+))+$|^[a-z_][a-z_\d]{0,15}(?:\.[A-Za-z_]{1,60})+$|^[A-Za-z_]+$"
    r"|^[A-Z][A-Za-z\d]{0,60}(?:Types?|Keys?|Tokens?|Config|Credentials?)$|^/|^~|^\.|^https?:|^--"
)
LEAST_ENTROPY = 3.2
"""Bits for each character: above words and names, below random base64, base62 and hexadecimal of 32 characters."""
MAX_DEPTH = 3
MAX_DECODED = 1 << 18
_TEXT = frozenset(range(0x20, 0x7F)) | {9, 10, 13}


def find_secrets(text: str, place: str) -> tuple[SecretSighting, ...]:
    """Where in a text something looks like a credential, line by line; encoded text is looked into.

    Args:
        text: Any text; base64, gzip and zlib inside are decoded, three layers deep and at most 256 KiB each.
        place: How to name the text, for example ``onstart``; the line is added.
    """
    seen: dict[tuple[str, str], SecretSighting] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for kind in _kinds(line, 0):
            sighting = SecretSighting(place=f"{place} line {number}", kind=kind)
            seen.setdefault((sighting.place, kind), sighting)
    for number, block in _wrapped(text):
        for kind in _encoded(block, 0):
            sighting = SecretSighting(place=f"{place} line {number}", kind=kind)
            seen.setdefault((sighting.place, kind), sighting)
    return tuple(seen.values())


def secret_file(path: str) -> SecretSighting | None:
    """A file that holds credentials by its name alone, such as ``.env`` or ``id_ed25519``."""
    posix = path.replace("\\", "/")
    if _SECRET_FILE.search(posix) and not posix.endswith((".pub", ".example", ".sample", ".template")):
        return SecretSighting(place=path, kind="credential-file")
    return None


def _wrapped(text: str) -> list[tuple[int, str]]:
    """Base64 that was wrapped over two lines or more, each block with the number of its first line."""
    blocks: list[tuple[int, str]] = []
    run: list[str] = []
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        bare = line.strip()
        if _BASE64_LINE.fullmatch(bare) and (not run or len(bare) <= len(run[0])):
            run.append(bare)
            continue
        if len(run) > 1:
            blocks.append((number - len(run), "".join(run)))
        run = []
    return blocks


def find_secrets_in_value(name: str, value: str) -> tuple[SecretSighting, ...]:
    """As ``find_secrets`` for one environment variable, whose name counts as well."""
    return find_secrets(value, f"env {name}") or tuple(
        SecretSighting(place=f"env {name}", kind=kind) for kind in _kinds(f"{name}={value}", 0)
    )


def _kinds(line: str, depth: int) -> list[str]:
    kinds = [kind for kind, pattern in FORMATS if pattern.search(line)]
    if kinds:
        return kinds
    if any(_is_secret(match["value"]) for match in _ASSIGNED.finditer(line)):
        return ["assigned-secret"]
    for kind, pattern in (("password-in-url", _URL), ("netrc-password", _NETRC)):
        if any(not _PLACEHOLDER.search(match["value"]) for match in pattern.finditer(line)):
            return [kind]
    for kind, pattern in (("login-argument", _LOGIN), ("authorization-header", _HEADER)):
        if any(_is_secret(match["value"]) for match in pattern.finditer(line)):
            return [kind]
    return _encoded(line, depth) if depth < MAX_DEPTH else []


def _is_secret(value: str) -> bool:
    value = value.strip("'\"`")
    if len(value) < 8 or _PLACEHOLDER.search(value) or _CODE.search(value):
        return False
    letters, digits = any(c.isalpha() for c in value), any(c.isdigit() for c in value)
    return letters and digits and _entropy(value) >= min(LEAST_ENTROPY, math.log2(len(value)) * 0.85)


def _entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _encoded(line: str, depth: int) -> list[str]:
    for match in _BASE64.finditer(line):
        inner = _decode(match[0])
        if inner is None:
            continue
        for part in inner.splitlines():
            if kinds := _kinds(part, depth + 1):
                return [f"{kinds[0]} (encoded)"]
    return []


def _decode(blob: str) -> str | None:
    try:
        raw = base64.b64decode(blob + "=" * (-len(blob) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if raw[:2] == b"\x1f\x8b":
        raw = _inflate(raw, 31)
    elif raw[:1] == b"\x78":
        raw = _inflate(raw, 15) or raw
    if not raw or sum(byte in _TEXT for byte in raw[:512]) < 0.95 * len(raw[:512]):
        return None
    return raw.decode("utf-8", "replace")


def _inflate(raw: bytes, window: int) -> bytes:
    try:
        return zlib.decompressobj(window).decompress(raw, MAX_DECODED)
    except zlib.error:
        return b""
