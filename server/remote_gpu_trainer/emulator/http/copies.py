"""Copies by the platform: where a machine's rsync answers, between instances, and with a cloud connection."""

from pathlib import Path
from typing import Any

from remote_gpu_trainer.emulator.contracts import Contract, Phase
from remote_gpu_trainer.emulator.http.calls import Answer, Call, Endpoint, Refusal, refusal, text_in
from remote_gpu_trainer.emulator.http.results import publish
from remote_gpu_trainer.emulator.instance_row import HOST
from remote_gpu_trainer.emulator.transfers import BadPath, Transfer, inside, size_of

COPY_S = 3.5
PATH_MOST = 4096
STARTED = "Remote to Remote copy initiated - check instance status bar for progress updates (~30 seconds delayed)."
LOCAL = (None, "local", "")
SPOILED = frozenset({"/", "/root"})
"""Copying there damages the box's SSH folder, as the guides warn."""


def rsync(call: Call) -> Answer:
    """``PUT /api/v0/commands/rsync/``: the machine's address for the side that is an instance; the client copies."""
    source, target = call.body.get("src_id"), call.body.get("dst_id")
    if (source in LOCAL) == (target in LOCAL):
        raise refusal(400, "invalid_args", "Invalid src_id: exactly one side must be local.")
    _path(call, "src_path")
    _path(call, "dst_path")
    side, ident = ("dst", target) if source in LOCAL else ("src", source)
    contract = _contract(call, ident, side)
    if contract.phase is Phase.OFFLINE or not call.world.machine_ssh_port:
        raise refusal(
            400,
            "invalid_args",
            f"Invalid {side}_id: the machine of instance {contract.id} is offline, or has no rsync.",
        )
    return Answer(
        {"success": True, f"{side}_addr": HOST, f"{side}_port": call.world.machine_ssh_port, "msg": "Rsync initiated."}
    )


def copy(call: Call) -> Answer:
    """``PUT /api/v0/commands/copy_direct/``: between instances and volumes; with a side ``local`` as rsync answers."""
    source, target = call.body.get("src_id"), call.body.get("dst_id")
    src_path, dst_path = _path(call, "src_path"), _path(call, "dst_path")
    if source in LOCAL or target in LOCAL:
        return rsync(call)
    begin(call, _side(call, source, src_path, "src"), _side(call, target, dst_path, "dst"), "Copy Operation Finished")
    return Answer({"success": True, "msg": STARTED})


Side = tuple[Contract | None, Path, str]


def begin(call: Call, source: Side, target: Side, finished: str) -> None:
    """Start a transfer between two sides: the contract, its root and the path. Raises Refusal."""
    giver, taker = source[0], target[0]
    try:
        found, into = inside(source[1], source[2]), inside(target[1], target[2])
    except BadPath as bad:
        raise refusal(400, "invalid_args", f"Invalid src_path: {bad}.") from None
    if not found.exists():
        raise refusal(400, "invalid_args", "Invalid src_path.")
    size, now = size_of(found), call.world.now
    transfers = call.engine.transfers
    transfers.begin(
        Transfer(
            source=found,
            target=into,
            starts_at=now,
            ends_at=now + transfers.seconds(size, giver, taker),
            size=size,
            sender=giver.id if giver else None,
            receiver=taker.id if taker else None,
            finished_message=finished,
            contents_only=source[2].endswith("/"),
            breaks_ssh=taker is not None and target[2].rstrip("/") in {p.rstrip("/") for p in SPOILED},
        )
    )


def cancel(call: Call) -> Answer:
    """``DELETE /api/v0/commands/copy_direct/`` and ``.../rclone/``: drops what is under way into an instance."""
    contract = _contract(call, call.body.get("dst_id"), "dst")
    call.engine.transfers.cancel(contract.id)
    done = "Remote copy canceled - check instance status bar for progress updates (~30 seconds delayed)."
    return Answer({"success": True, "msg": done})


def rclone(call: Call) -> Answer:
    """``POST /api/v0/commands/rclone/``: to or from a cloud connection, on a stopped instance too."""
    body = call.body
    contract = _contract(call, body.get("instance_id"), "instance")
    known = [c for c in call.world.account.connections if str(c["id"]) == str(body.get("selected"))]
    if not known:
        raise Refusal(Answer({"success": False, "msg": f"Invalid cloud connection: {body.get('selected')}"}, 400))
    bucket: Side = (None, call.world.cloud_folder(known[0]["id"]), _path(call, "dst"))
    box: Side = _side(call, contract.id, _path(call, "src"), "instance")
    direction = (text_in(body, "transfer", 64) or "").strip().lower()
    if direction not in ("instance to cloud", "cloud to instance"):
        raise Refusal(Answer({"success": False, "msg": f"Invalid transfer: {body.get('transfer')}"}, 400))
    if direction == "cloud to instance":
        box, bucket = _side(call, contract.id, bucket[2], "instance"), (None, bucket[1], _path(call, "src"))
    pair = (box, bucket) if direction == "instance to cloud" else (bucket, box)
    if "--dry-run" not in (body.get("flags") or []):
        begin(call, *pair, "Cloud Copy Operation Finished")
    return Answer(
        {"success": True, "msg": "Cloud Copy Started", "result_url": publish(call.world, "Cloud Copy Started\n")}
    )


def _path(call: Call, field: str) -> str:
    path = text_in(call.body, field, PATH_MOST)
    if not path:
        raise refusal(400, "invalid_args", f"Invalid {field}.")
    return path


def _side(call: Call, ident: Any, path: str, side: str) -> Side:
    """One side of a copy: an instance, whose volumes lie where they are mounted, or a volume by ``V.ID``."""
    if str(ident).startswith("V."):
        number = str(ident)[2:]
        volume = next((v for v in call.world.open_volumes if str(v.id) == number), None)
        if volume is None:
            raise refusal(400, "invalid_args", f"Invalid {side}_id.")
        return None, call.world.volume_folder(volume.id), path
    contract = _contract(call, ident, side)
    order = call.world.box_order(contract)
    for folder, place in order.mounts:
        if path == place or path.startswith(place + "/"):
            return contract, folder, path[len(place) :] or "/"
    return contract, order.root, path


def _contract(call: Call, ident: Any, side: str) -> Contract:
    text = str(ident).removeprefix("C.").split(":")[0]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise refusal(400, "invalid_args", f"Invalid {side}_id.")
    return call.contract(int(text))


_RIGHT = ("instance_write", "api.commands.copy")
ROUTES = [
    Endpoint("PUT", "/api/v0/commands/rsync", rsync, COPY_S, *_RIGHT),
    Endpoint("PUT", "/api/v0/commands/copy_direct", copy, COPY_S, *_RIGHT),
    Endpoint("DELETE", "/api/v0/commands/copy_direct", cancel, COPY_S, *_RIGHT),
    Endpoint("POST", "/api/v0/commands/rclone", rclone, 0.0, *_RIGHT),
    Endpoint("DELETE", "/api/v0/commands/rclone", cancel, COPY_S, *_RIGHT),
]
