"""Rules over API keys and SSH keys."""

import re

from remote_gpu_trainer.rules.base import Rule, Severity, Trip, on
from remote_gpu_trainer.rules.facts import ConnectFacts, RentFacts

_PUBLIC_KEY = re.compile(
    r"(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-nistp\d{3}|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]{40,}={0,3}(?P<comment> \S.*)?"
)


def _not_a_key(facts: RentFacts) -> Trip | None:
    if facts.public_key is None:
        return None
    text = facts.public_key.strip()
    match = _PUBLIC_KEY.fullmatch(text)
    if match is None:
        looks = "a path" if text.startswith(("/", "~", ".")) or text.endswith(".pub") else "not a whole public key line"
        return Trip(f"what would be registered as the SSH key is {looks}")
    if not match["comment"]:
        return Trip(
            "the public key has no user@host at its end; such lines have led to a password prompt", Severity.WARN
        )
    return None


VAST20 = Rule(
    id="VAST20",
    name="key-path-registered-as-key",
    severity=Severity.BLOCK,
    symptom="SSH to a new instance asks for a password.",
    cause="The account takes any text as a key: a path, or a line that lost its ssh-ed25519 or ssh-rsa prefix or its "
    "user@host suffix, is stored and never fits.",
    example="The words ~/.ssh/id_ed25519.pub were registered in place of what that file holds.",
    fix="register the one whole line of the .pub file: type, base64, comment",
    unless="the text is one public key line",
    source="docs.vast.ai jupyter-ssh FAQ, 2026-06; official CLI 1.9.1, 2026-08",
    checks=on(_not_a_key, RentFacts),
)


def _key_missing(facts: RentFacts) -> Trip | None:
    if facts.key_registered:
        return None
    if facts.key_registered is None:
        return Trip("whether the account holds our SSH key is unknown", Severity.ACKNOWLEDGE)
    return Trip("our SSH key is not on the account, so the new instance would not know it")


VAST36 = Rule(
    id="VAST36",
    name="key-added-after-create",
    severity=Severity.BLOCK,
    symptom="A key was added to the account, and the instance that is already there still refuses it.",
    cause="The guides say that a key reaches instances made after it was added; the API reference says that current "
    "ones get it too. Attaching one to a running box is racy. Assume that it does not arrive.",
    example="Rent first, add the key second: a box that nobody can enter, and that bills.",
    fix="register the key before create; for an existing box put it in through the boot hook",
    unless="the key is on the account before create",
    source="docs.vast.ai jupyter-ssh FAQ, 2026-06, against OpenAPI 2026-08: conflict, the careful reading taken",
    checks=on(_key_missing, RentFacts),
)


def _shadowed(facts: ConnectFacts) -> Trip | None:
    if not (facts.variable_set and facts.file_present) or facts.keys_differ is False:
        return None
    how = "hold different keys" if facts.keys_differ else "may hold different keys"
    return Trip(f"VAST_API_KEY and ~/.config/vastai/vast_api_key {how}; the variable wins")


VAST22 = Rule(
    id="VAST22",
    name="stored-key-shadowed",
    severity=Severity.WARN,
    symptom="A new key was stored with 'vastai set api-key' and the old one goes on being used.",
    cause="A set VAST_API_KEY silently wins over the key file.",
    example="A revoked key in the shell's profile gives 401 while the file holds a good one.",
    fix="keep the key in one place: unset VAST_API_KEY or remove the file",
    unless="only one of the two is set, or both hold the same key",
    source="official CLI 1.9.1, 2026-08",
    checks=on(_shadowed, ConnectFacts),
)

VAST39 = Rule(
    id="VAST39",
    name="box-key-forgotten",
    severity=Severity.WARN,
    symptom="An instance is stopped or destroyed although no key of the account was used.",
    cause="Each container holds a CONTAINER_API_KEY with the right to start, stop and destroy its instance, and the "
    "documentation shows how to make it from files there: who is on the box can end it.",
    example="A dependency that the training script installs deletes the instance that it runs on.",
    fix="hold proven copies off the box as the only durability; destroying with consent protects against this "
    "program's mistakes, not against the box",
    unless="nothing does",
    source="platform documentation read by others, 2026",
    unchecked="the key is on every box, so there is nothing to look at that could pass",
)
