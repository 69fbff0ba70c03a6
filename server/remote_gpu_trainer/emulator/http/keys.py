"""SSH keys of the account and of single instances."""

from datetime import UTC, datetime
from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Json, refusal, text_in

KEY_TYPES = ("ssh-rsa", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-")


def _public_key(call: Call) -> str:
    key = (text_in(call.body, "ssh_key", 16_384) or "").strip()
    if not key:
        raise refusal(400, "no_ssh_key", "No ssh key provided")
    if not key.startswith(KEY_TYPES) or len(key.split()) < 2 or "\n" in key:
        raise refusal(400, "no_ssh_key", "Invalid ssh key: expected one OpenSSH public key line")
    return key


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def create(call: Call) -> Answer:
    """``POST /api/v0/ssh/``. Instances that exist do not get the key, by the guides and by a quirk."""
    world, public = call.world, _public_key(call)
    key: Json = {
        "id": 300_000 + world.account.fresh_id(),
        "user_id": world.account.id,
        "public_key": public,
        "key": public,
        "created_at": _stamp(world.now),
        "deleted_at": None,
    }
    world.account.ssh_keys.append(key)
    if not world.quirks.on("late-keys-ignored"):
        for contract in world.live:
            _give(call, contract, key)
    return Answer({"success": True, "key": key})


def show(call: Call) -> Answer:
    """``GET /api/v0/ssh/``: a bare list."""
    return Answer(call.world.account.live_ssh_keys)


def _own(call: Call, name: str = "id") -> Json:
    for key in call.world.account.live_ssh_keys:
        if key["id"] == call.number(name):
            return key
    raise refusal(400, "no_ssh_key", "No ssh key provided")


def update(call: Call) -> Answer:
    """``PUT /api/v0/ssh/{id}/``."""
    key = _own(call)
    key["public_key"] = key["key"] = _public_key(call)
    return Answer({"success": True, "key": key})


def delete(call: Call) -> Answer:
    """``DELETE /api/v0/ssh/{id}/``: the account forgets it; boxes that have it keep it."""
    _own(call)["deleted_at"] = _stamp(call.world.now)
    return Answer({"success": True})


def _give(call: Call, contract: Contract, key: dict[str, Any]) -> None:
    if all(have["public_key"] != key["public_key"] for have in contract.ssh_keys):
        contract.ssh_keys.append({"id": key["id"], "name": f"key-{key['id']}", "public_key": key["public_key"]})
    _apply(call, contract)


def _apply(call: Call, contract: Contract) -> None:
    call.world.touch(contract)
    if box := call.world.fleet.get(contract.id):
        box.set_authorized_keys([key["public_key"] for key in contract.ssh_keys])


def attach(call: Call) -> Answer:
    """``POST /api/v0/instances/{id}/ssh/``: one key for one box."""
    contract, public = call.contract(), _public_key(call)
    known = next((k for k in call.world.account.live_ssh_keys if k["public_key"] == public), None)
    _give(call, contract, known or {"id": 300_000 + call.world.account.fresh_id(), "public_key": public})
    return Answer({"success": True, "msg": "SSH key attached successfully"})


def show_attached(call: Call) -> Answer:
    """``GET /api/v0/instances/{id}/ssh/``."""
    return Answer({"success": True, "ssh_keys": call.contract().ssh_keys})


def detach(call: Call) -> Answer:
    """``DELETE /api/v0/instances/{id}/ssh/{ssh_key_id}/``."""
    contract, key_id = call.contract(), call.number("ssh_key_id")
    rest = [key for key in contract.ssh_keys if key["id"] != key_id]
    if len(rest) == len(contract.ssh_keys):
        raise refusal(404, "no_such_ssh_key", "SSH key not found.")
    contract.ssh_keys = rest
    _apply(call, contract)
    return Answer({"success": True, "msg": "SSH key removed from instance."})


ROUTES = [
    Endpoint("POST", "/api/v0/ssh", create, 1.0, "user_write", "api.ssh.create"),
    Endpoint("GET", "/api/v0/ssh", show, 0.0, "user_read", "api.ssh.show"),
    Endpoint("PUT", "/api/v0/ssh/{id}", update, 1.0, "user_write", "api.ssh.update"),
    Endpoint("DELETE", "/api/v0/ssh/{id}", delete, 0.0, "user_write", "api.ssh.delete"),
    Endpoint("POST", "/api/v0/instances/{id}/ssh", attach, 0.0, "instance_write", "api.instance.attach_ssh"),
    Endpoint("GET", "/api/v0/instances/{id}/ssh", show_attached, 0.0, "instance_read", "api.instance.show_ssh"),
    Endpoint(
        "DELETE", "/api/v0/instances/{id}/ssh/{ssh_key_id}", detach, 2.0, "instance_write", "api.instance.detach_ssh"
    ),
]
