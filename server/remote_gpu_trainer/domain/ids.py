"""Identifiers, and the label that ties an instance to its lease."""

import re
from typing import NewType

OfferId = NewType("OfferId", int)
"""``ask_contract_id`` of an offer: changes whenever the host re-lists."""

InstanceId = NewType("InstanceId", int)
"""The contract id of one rental. The platform may reuse nothing, but a start date belongs to the identity."""

MachineId = NewType("MachineId", int)
HostId = NewType("HostId", int)

LeaseId = NewType("LeaseId", str)
"""Our name for one rental from intent to proof of end, for example ``digits-k3vq7m``. People type it."""

CopyId = NewType("CopyId", str)
ApprovalId = NewType("ApprovalId", str)

LABEL_PREFIX = "rgt/"
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
LEASE_PATTERN = re.compile(r"^[a-z][a-z0-9-]{0,30}-[a-z2-7]{6}$")
LEASE_ALPHABET = "abcdefghijkmnpqrstuvwxyz234567"


def label_of(lease: LeaseId) -> str:
    """The label under which an instance of this lease is created and found again."""
    return f"{LABEL_PREFIX}{lease}"


def lease_in(label: str | None) -> LeaseId | None:
    """The lease that a label names, or None when it is not one of ours."""
    if not label or not label.startswith(LABEL_PREFIX):
        return None
    name = label.removeprefix(LABEL_PREFIX)
    return LeaseId(name) if LEASE_PATTERN.fullmatch(name) else None
