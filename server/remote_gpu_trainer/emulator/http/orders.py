"""The body of a create call, read with the platform's defaults and limits."""

import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from remote_gpu_trainer.emulator.http.calls import Call, as_list, as_object, number_in, refusal, text_in

ENV_VALUE_MOST, ENV_MOST, LABEL_MOST, START_MOST = 256, 32_768, 256, 4_096
DISK_LEAST_GB, DISK_DEFAULT_GB = 8.0, 10.0
PRICE_LEAST, PRICE_MOST = 0.001, 128.0
PORTS_MOST = 64
SYSTEM = frozenset("bin boot dev etc lib lib32 lib64 libx32 opt proc run sbin sys usr".split())
RUNTYPES = {
    "ssh": "ssh_proxy",
    "ssh_direct": "ssh_direc ssh_proxy",
    "jupyter": "jupyter_proxy ssh_proxy",
    "jupyter_proxy": "jupyter_proxy ssh_proxy",
    "jupyter_direct": "jupyter_direc ssh_direc ssh_proxy",
}


@dataclass
class Order:
    """A create call: ``disk_gb`` in GB, ``price`` in USD/h for the whole instance (None: on demand)."""

    image: str
    disk_gb: float
    price: float | None
    runtype: str
    label: str | None
    onstart: str
    args: list[str]
    cancel_unavail: bool
    target_state: str
    env: list[list[str]] = field(default_factory=list[list[str]])
    volume: dict[str, Any] | None = None
    template: dict[str, Any] | None = None

    mount_path: str = ""
    """Where in the container its volume is to lie."""


def read_order(call: Call) -> Order:
    """Read a create body, over a template's values where one is named. Raises Refusal."""
    template = _template(call)
    body = ({k: v for k, v in template.items() if v is not None} if template else {}) | {
        k: v for k, v in call.body.items() if v is not None
    }
    image = text_in(body, "image", 1024)
    if not image:
        raise refusal(400, "invalid_args", "error 400/3471: Invalid args: 'image' is required")
    onstart, args = text_in(body, "onstart", 1_000_000) or "", _args(body)
    if len(onstart) + sum(len(a) + 1 for a in args) > START_MOST:
        raise refusal(
            400,
            "invalid_args",
            f"error 400/3472: Invalid args: combined args and onstart exceed {START_MOST} characters",
        )
    disk, price = number_in(body, "disk"), number_in(body, "price")
    if price is not None and not PRICE_LEAST <= price <= PRICE_MOST:
        raise refusal(
            400, "invalid_price", f"error 400/3488: Invalid price: must be between {PRICE_LEAST} and {PRICE_MOST}"
        )
    volume = as_object(body.get("volume_info"))
    runtype = text_in(body, "runtype", 256) or ("args" if args else "ssh_proxy")
    cancel = body.get("cancel_unavail")
    return Order(
        image=image,
        disk_gb=DISK_DEFAULT_GB if disk is None else max(DISK_LEAST_GB, disk),
        price=price,
        runtype=RUNTYPES.get(runtype, runtype),
        label=text_in(body, "label", LABEL_MOST),
        onstart=onstart,
        args=args,
        cancel_unavail=bool(cancel) if cancel is not None else price is None,
        target_state=text_in(body, "target_state", 16) or "running",
        env=_merged_env(template, call.body),
        volume=volume,
        mount_path=_mount_path(volume) if volume else "",
        template=template,
    )


def _mount_path(volume: dict[str, Any]) -> str:
    """Where a volume may lie: an absolute path that is no folder of the system. Raises Refusal 400."""
    path = text_in(volume, "mount_path", 1024) or ""
    parts = path.strip("/").split("/")
    plain = path.startswith("/") and not {"", ".", ".."} & set(parts) and not set(path) & set("\0:\n")
    if not plain or parts[0] in SYSTEM or parts == ["root"]:
        raise refusal(400, "invalid_args", f"error 400/3479: Invalid args: a volume cannot be mounted at {path!r}")
    return "/" + "/".join(parts)


def _template(call: Call) -> dict[str, Any] | None:
    wanted, number = call.body.get("template_hash_id"), call.body.get("template_id")
    if wanted is None and number is None:
        return None
    for template in call.world.templates.values():
        if template["hash_id"] == wanted or template["id"] == number:
            return template
    raise refusal(400, "invalid_args", f"error 400/3473: Invalid args: no such template {wanted or number}")


def _args(body: dict[str, Any]) -> list[str]:
    args = body.get("args")
    if args is None:
        return shlex.split(text) if (text := text_in(body, "args_str", 100_000)) else []
    if isinstance(args, str):
        return [args]
    listed = as_list(args)
    if listed is None:
        raise refusal(400, "invalid_args", "Invalid args: args must be a list")
    return [str(arg) for arg in listed]


def _merged_env(template: dict[str, Any] | None, body: dict[str, Any]) -> list[list[str]]:
    merged = dict(read_env(template.get("env")) if template else []) | dict(read_env(body.get("env")))
    pairs = [[key, value] for key, value in merged.items()]
    if sum(len(k) + len(v) + 2 for k, v in pairs) > ENV_MOST:
        raise refusal(400, "invalid_args", f"error 400/3474: Invalid args: env exceeds {ENV_MOST} characters")
    for key, value in pairs:
        if len(value) > ENV_VALUE_MOST:
            raise refusal(
                400,
                "invalid_args",
                f"error 400/3475: Invalid args: env value of {key} exceeds {ENV_VALUE_MOST} characters",
            )
    if sum(key.startswith("-p ") for key, _ in pairs) > PORTS_MOST:
        raise refusal(400, "invalid_args", f"error 400/3476: Invalid args: more than {PORTS_MOST} ports")
    return pairs


def read_env(env: Any) -> list[tuple[str, str]]:
    """Pairs of an environment given as an object or as Docker options in one text. Raises Refusal 400."""
    if env is None:
        return []
    if isinstance(env, str):
        return _docker_options(env)
    blob = as_object(env)
    if blob is None or any(isinstance(v, dict | list) for v in blob.values()):
        raise refusal(400, "invalid_args", "Invalid args: env must be an object of strings")
    return [(key, "" if value is None else str(value)) for key, value in blob.items()]


def _docker_options(text: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise refusal(400, "invalid_args", "Invalid args: env cannot be parsed") from None
    pairs: list[tuple[str, str]] = []
    for flag, value in pairwise(words):
        if flag == "-e" and "=" in value:
            name, _, content = value.partition("=")
            pairs.append((name, content))
        elif flag in ("-p", "-v", "-n"):
            pairs.append((f"{flag} {value}", "1"))
        elif flag == "-h":
            pairs.append(("-h", value))
    return pairs
