"""What a person keeps of one teardown: plan, consent, proof of the end and final cost, in one signed file."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from remote_gpu_trainer.approval.keyfile import private_key_bytes, write_private
from remote_gpu_trainer.approval.strictjson import NotOneMeaning, strict_object
from remote_gpu_trainer.database.file import private_folder
from remote_gpu_trainer.database.text import dump
from remote_gpu_trainer.domain.approvals import Consent
from remote_gpu_trainer.domain.artifacts import digest_of
from remote_gpu_trainer.domain.ids import LEASE_PATTERN
from remote_gpu_trainer.domain.plans import TeardownPlan
from remote_gpu_trainer.domain.units import Usd
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import ConsentError, InvalidRequest

KEY_FILE = "receipts.key"
FOLDER = "receipts"
ABSENCES_NEEDED = 2

_DOMAIN = b"remote-gpu-trainer receipt v1\n"
_MOST_PER_LEASE = 100


class Absence(Value):
    """One look at the account in which the instance was not there, while the account itself was confirmed."""

    at: datetime
    account_id: int
    instance_id: int
    instances_listed: int
    """How many instances the account showed in the same look."""


class Receipt(Value):
    """One teardown from plan to proof of the end."""

    version: Literal[1] = 1
    plan: TeardownPlan
    consent: Consent
    absences: tuple[Absence, ...]
    estimated_cost: Usd
    """By the journal's meter, US dollars."""
    billed_cost: Usd | None
    """By the platform's own charges, US dollars; None when they could not be read."""
    volumes_billing_on: tuple[str, ...]
    """Volumes that were still there at the last look."""
    closed_at: datetime
    program_version: str


def write_receipt(home: Path, receipt: Receipt) -> Path:
    """Sign a receipt and write it to ``home/receipts/<lease>.json``; a second end of one lease gets a number.

    Raises:
        InvalidRequest: it does not prove an end: another plan's consent, or fewer than two absences of this instance.
        ConfigError: the signing key cannot be used.
        OSError: it could not be written.
    """
    problem = _why_no_proof(receipt)
    if problem is not None:
        raise InvalidRequest(
            f"no receipt was written: {problem}",
            next_step="look at the account again; the teardown is not proven yet",
            effect="The lease stays open.",
        )
    folder = home / FOLDER
    private_folder(folder)
    content = _signed(receipt, private_key_bytes(home / KEY_FILE, 32))
    for number in range(1, _MOST_PER_LEASE + 1):
        path = folder / (f"{receipt.plan.lease}.json" if number == 1 else f"{receipt.plan.lease}.{number}.json")
        try:
            write_private(path, content)
        except FileExistsError:
            if path.read_bytes() == content:
                return path
            continue
        return path
    raise InvalidRequest(
        f"there are {_MOST_PER_LEASE} receipts of lease {receipt.plan.lease!r} already", effect="None was written."
    )


def receipt_public_key(home: Path) -> bytes:
    """The 32 bytes of the Ed25519 key that this home's receipts verify with; the key is made at first use.

    Raises:
        ConfigError: the signing key cannot be used.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = private_key_bytes(home / KEY_FILE, 32)
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def verify_receipt(content: bytes, *, public_key: bytes) -> Receipt:
    """The receipt in a file, when it is signed by this key and says what a receipt has to say.

    Args:
        content: The file's bytes.
        public_key: 32 bytes that the reader trusts; a key inside the file proves nothing.

    Raises:
        ConsentError: with the reason.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        document = strict_object(content)
        body, signature = document["receipt"], document["signature"]
        if set(document) != {"receipt", "signature", "public_key", "algorithm"} or not isinstance(signature, str):
            raise _no_receipt("it has other parts than a receipt")
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            base64.b64decode(signature, validate=True), _message(body)
        )
        receipt = Receipt.model_validate(body)
    except NotOneMeaning as problem:
        raise _no_receipt(str(problem)) from problem
    except InvalidSignature as problem:
        raise _no_receipt("its signature is not by the trusted key, or it was changed afterwards") from problem
    except (KeyError, ValidationError, ValueError, TypeError) as problem:
        raise _no_receipt("it does not have the shape of a receipt") from problem
    problem = _why_no_proof(receipt)
    if problem is not None:
        raise _no_receipt(problem)
    return receipt


def _signed(receipt: Receipt, seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(seed)
    body: dict[str, JsonValue] = receipt.model_dump(mode="json")
    document: dict[str, JsonValue] = {
        "receipt": body,
        "algorithm": "ed25519 over the domain line and the sha256 of the receipt's canonical JSON (RFC 8785)",
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(key.sign(_message(body))).decode(),
    }
    return dump(document).encode() + b"\n"


def _message(body: JsonValue) -> bytes:
    return _DOMAIN + digest_of(body).encode()


def _why_no_proof(receipt: Receipt) -> str | None:
    plan = receipt.plan
    if LEASE_PATTERN.fullmatch(plan.lease) is None:
        return "the lease's name has not the form of one"
    if receipt.consent.plan_digest != plan.digest:
        return "the consent is for another plan"
    if any((look.account_id, look.instance_id) != (plan.account_id, plan.instance.id) for look in receipt.absences):
        return "an absence is of another account or instance"
    moments = {look.at for look in receipt.absences}
    if len(moments) < ABSENCES_NEEDED:
        return f"the instance was found absent {len(moments)} time(s), and {ABSENCES_NEEDED} are needed"
    if min(moments) < receipt.consent.granted_at:
        return "an absence is older than the consent"
    return None


def _no_receipt(reason: str) -> ConsentError:
    return ConsentError(
        f"this receipt does not hold: {reason}",
        next_step="take it for no proof; look at the account itself",
    )
