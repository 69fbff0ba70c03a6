"""Passkeys on the local page: WebAuthn over one request's statement, with the person verified by the authenticator."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from remote_gpu_trainer.approval.statement import Approver, statement_of
from remote_gpu_trainer.approval.strictjson import NotOneMeaning, strict_object
from remote_gpu_trainer.domain.approvals import ApprovalRequest
from remote_gpu_trainer.domain.values import Value
from remote_gpu_trainer.errors import ConsentError

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

RP_ID = "localhost"
"""The relying party. An IP address is none, which is why the page is opened by this name."""

_PATIENCE_MS = 120_000
_USER = b"remote-gpu-trainer"


class Passkey(Value):
    """One registered passkey; nothing in it is secret, and whoever can add one can say yes."""

    version: Literal[1] = 1
    label: str = Field(min_length=1, max_length=60)
    credential_id: str
    """base64url without padding."""
    public_key: str
    """COSE key, base64url without padding."""
    sign_count: int = Field(ge=0)
    """Of the authenticator, when it was registered; newer ones are kept with the journal."""
    registered_at: datetime

    @property
    def fingerprint(self) -> str:
        """sha256 over the public key, lower-case hex."""
        return hashlib.sha256(self.public_key.encode()).hexdigest()

    @property
    def title(self) -> str:
        """What the statement and the journal call it."""
        return f"passkey {self.fingerprint}"


@dataclass(frozen=True)
class PasskeySignature:
    """An assertion that was accepted."""

    passkey: Passkey
    counter: int


def origin_of(port: int) -> str:
    """The one origin that an answer may come from."""
    return f"http://{RP_ID}:{port}"


def challenge_of(request: ApprovalRequest, known: Sequence[Approver]) -> bytes:
    """What one of the passkeys signs: sha256 over the statement, 32 bytes. Another plan is another challenge."""
    return hashlib.sha256(statement_of(request, known)).digest()


def new_challenge() -> bytes:
    """For a registration: 32 random bytes."""
    return secrets.token_bytes(32)


def registration_options(challenge: bytes, known: Sequence[Passkey]) -> str:
    """What the browser asks an authenticator for when one is registered, as JSON."""
    import webauthn
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = webauthn.generate_registration_options(
        rp_id=RP_ID,
        rp_name="remote-gpu-trainer",
        user_name="the person who approves",
        user_id=_USER,
        challenge=challenge,
        timeout=_PATIENCE_MS,
        exclude_credentials=[_descriptor(one) for one in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return webauthn.options_to_json(options)


def register(answer: str, *, challenge: bytes, port: int, label: str, at: datetime) -> Passkey:
    """The passkey that a browser's answer registers.

    Raises:
        ConsentError: the answer is not accepted, with the reason.
    """
    import webauthn
    from webauthn.helpers import bytes_to_base64url
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        made = webauthn.verify_registration_response(
            credential=dict(strict_object(answer.encode())),
            expected_challenge=challenge,
            expected_rp_id=RP_ID,
            expected_origin=origin_of(port),
            require_user_verification=True,
        )
    except (WebAuthnException, NotOneMeaning) as problem:
        raise _refused(f"the passkey's answer is not accepted: {problem}", "Nothing was registered.") from problem
    return Passkey(
        label=label,
        credential_id=bytes_to_base64url(made.credential_id),
        public_key=bytes_to_base64url(made.credential_public_key),
        sign_count=made.sign_count,
        registered_at=at,
    )


def assertion_options(request: ApprovalRequest, known: Sequence[Passkey]) -> str:
    """What the browser asks a registered passkey for, as JSON. The same request gives the same."""
    import webauthn
    from webauthn.helpers.structs import UserVerificationRequirement

    options = webauthn.generate_authentication_options(
        rp_id=RP_ID,
        challenge=challenge_of(request, known),
        timeout=_PATIENCE_MS,
        allow_credentials=[_descriptor(one) for one in known],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def verify_assertion(
    answer: str, request: ApprovalRequest, *, known: Sequence[Passkey], counters: Mapping[str, int], port: int
) -> PasskeySignature:
    """Judge a browser's answer for one request.

    Args:
        answer: The credential as JSON.
        request: What it has to have signed.
        known: The registered passkeys.
        counters: The last counter seen of each, by fingerprint.
        port: Where the page is.

    Raises:
        ConsentError: it is not accepted: another challenge, origin or key, nobody verified, a counter that did not
            go on (a copied authenticator), or not JSON with one meaning.
    """
    import webauthn
    from webauthn.helpers import base64url_to_bytes, parse_client_data_json
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        credential = strict_object(answer.encode())
        passkey = next((one for one in known if one.credential_id == credential.get("id")), None)
        if passkey is None:
            raise NotOneMeaning("it is not of a passkey that is registered here")
        seen = max(passkey.sign_count, counters.get(passkey.fingerprint, 0))
        verified = webauthn.verify_authentication_response(
            credential=dict(credential),
            expected_challenge=challenge_of(request, known),
            expected_rp_id=RP_ID,
            expected_origin=origin_of(port),
            credential_public_key=base64url_to_bytes(passkey.public_key),
            credential_current_sign_count=seen,
            require_user_verification=True,
        )
        response = credential.get("response")
        client_data = response.get("clientDataJSON") if isinstance(response, dict) else None
        # A page in a frame of another site would say so here; the library reads the field and does not judge it.
        if not isinstance(client_data, str) or parse_client_data_json(base64url_to_bytes(client_data)).cross_origin:
            raise NotOneMeaning("it was asked for from inside another site")
    except (WebAuthnException, NotOneMeaning, ValueError) as problem:
        raise _refused(f"the passkey's answer is not accepted: {problem}", "Nothing was approved.") from problem
    return PasskeySignature(passkey, verified.new_sign_count)


def _descriptor(passkey: Passkey) -> "PublicKeyCredentialDescriptor":
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    return PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.credential_id))


def _refused(seen: str, effect: str) -> ConsentError:
    return ConsentError(seen, next_step="try again with a registered passkey, on the page itself", effect=effect)
