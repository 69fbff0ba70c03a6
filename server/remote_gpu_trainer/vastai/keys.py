"""API keys: one without the right to destroy, for an agent's server; and trying that it really has none."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.errors import ConfigError, MarketError, PermissionMissing
from remote_gpu_trainer.vastai.calls import About, Call, Repeat
from remote_gpu_trainer.vastai.client import VastClient
from remote_gpu_trainer.vastai.routes import destroy_call
from remote_gpu_trainer.vastai.wire import read_text

_WRITES = (
    "api.instance.create",
    "api.instance.update",
    "api.instance.change_bid",
    "api.instance.reboot",
    "api.instance.command",
    "api.instance.attach_ssh",
    "api.commands.copy",
)

AGENT_PERMISSIONS: Mapping[str, JsonValue] = {
    "api": {
        "misc": {},
        "user_read": {},
        "billing_read": {},
        "instance_read": {},
        "instance_write": {name: {} for name in _WRITES},
        # Not the whole category: a key that can make keys can make one that destroys.
        "user_write": {"api.ssh.create": {}},
    }
}
"""Everything that the tools need but destroy, recycle, bulk destroy, volume delete, and making keys.

The category ``instance_write`` as a whole includes destroy (documentation, 2026); the form of single endpoints is that
of the platform's permission files. The names are read off them and not promised: ``tried`` decides, not this list.
"""


@dataclass(frozen=True)
class Tried:
    """One attempt with a key, on something that does not exist."""

    what: str
    refused: bool
    """The platform said that the key lacks the permission. Any other answer is no such proof."""
    seen: str


async def make_scoped_key(client: VastClient, *, name: str) -> str:
    """Make a key without the right to destroy, once. The platform shows its text this one time.

    Raises:
        MarketError: the account does not allow it, or the answer holds no key.
    """
    call = Call(
        "making a scoped API key",
        "POST",
        "/api/v0/auth/apikeys/",
        "user",
        Repeat.ONCE,
        "No key was made.",
        body={"name": name, "permissions": dict(AGENT_PERMISSIONS)},
    )
    text = read_text((await client.transport.row(call)).get("key"))
    if text is None:
        raise ConfigError(
            "the platform answered without the new key's text",
            next_step="make the key in the platform's console and give it to rgt approve --enroll sealed --by-hand",
        )
    return text


async def tried(client: VastClient, *, destroy_only: bool = False) -> list[Tried]:
    """Try what ends or replaces data, on ids that this account does not have: nothing can be hit.

    Raises:
        MarketError: the account could not be listed whole, so no id is known to be free.
    """
    inventory = await client.inventory()
    volumes = {volume.id for volume in await client.volumes()}
    if not inventory.complete:
        raise ConfigError("the account could not be listed whole", effect="Nothing was tried.")
    used = {int(row.id) for row in inventory.instances} | volumes
    free = next(number for number in range(1, len(used) + 2) if number not in used)
    attempts = (
        ("destroy", destroy_call(InstanceId(free))),
        ("recycle", _call("recycling", "PUT", f"/api/v0/instances/recycle/{free}/", {}, About.INSTANCE)),
        ("bulk destroy", _call("destroying in bulk", "DELETE", "/api/v0/instances/", {"instance_ids": [free]})),
        ("volume delete", _call("deleting a volume", "DELETE", "/api/v0/volumes/", {"id": free})),
        # Permissions of this form make no key; a key without the right is told so first.
        ("make keys", _call("making a key", "POST", "/api/v0/auth/apikeys/", {"name": "check", "permissions": "none"})),
    )
    return [await _try(client, what, call) for what, call in attempts[: 1 if destroy_only else None]]


async def _try(client: VastClient, what: str, call: Call) -> Tried:
    try:
        await client.transport.row(call)
    except PermissionMissing as refused:
        return Tried(what, refused=True, seen=refused.message)
    except MarketError as other:
        return Tried(what, refused=False, seen=other.message)
    return Tried(what, refused=False, seen="it was accepted")


def _call(name: str, method: str, path: str, body: dict[str, JsonValue], about: About = About.NOTHING) -> Call:
    return Call(name, method, path, "destroy", Repeat.ONCE, "Nothing was changed.", about, body)
