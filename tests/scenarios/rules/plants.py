"""Secrets planted by a careless agent: each with its place, its form and a value of its own."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Plant:
    """One careless call. ``trace`` is the text that must be found nowhere afterwards."""

    place: str
    tool: str
    arguments: Json
    trace: str
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])


def letters(seed: str, length: int) -> str:
    """Letters and digits that only this seed gives."""
    text = base64.b64encode(hashlib.sha512(seed.encode()).digest()).decode().replace("+", "x").replace("/", "y")
    return (text * 3)[:length]


def hexes(seed: str, length: int = 40) -> str:
    return hashlib.sha512(seed.encode()).hexdigest()[:length]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def zipped(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def key_file(seed: str) -> str:
    body = letters(seed, 128)
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body[:64]}\n{body[64:]}\n-----END OPENSSH PRIVATE KEY-----\n"


Make = Callable[[str], Json]
HF = "hf_"


def rentals() -> list[tuple[str, str, Make]]:
    """Into ``create_instance``."""
    hook = f"#!/bin/sh\nexport HF_TOKEN={HF}{letters('hook', 34)}\npython train.py\n"
    twice = b64(b64(f"TOKEN={HF}{letters('twice', 34)}"))
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0."
    return [
        ("env value", HF + letters("rent", 34), lambda s: {"env": {"HF_TOKEN": s}}),
        ("env value without a telling form", hexes("wandb"), lambda s: {"env": {"WANDB_API_KEY": s}}),
        ("env cloud key", letters("aws", 40), lambda s: {"env": {"AWS_SECRET_ACCESS_KEY": s}}),
        ("env url", letters("db", 16), lambda s: {"env": {"DATABASE_URL": f"postgres://ada:{s}@db/x"}}),
        ("env one line script", letters("curl", 40), lambda s: {"env": {"SETUP": f"export API_KEY={s}; go"}}),
        ("env boot hook, gzip and base64", zipped(hook), lambda s: {"env": {"BOOT": f"echo {s}|base64 -d|gunzip|sh"}}),
        ("env base64", b64(f"token={letters('b64', 30)}"), lambda s: {"env": {"CONF": s}}),
        ("env base64 twice", twice, lambda s: {"env": {"CONF": s}}),
        ("env private key", letters("pem", 128)[:64], lambda s: {"env": {"DEPLOY": key_file("pem")}}),
        ("env service account", letters("gcp", 40), lambda s: {"env": {"GCP": json.dumps({"private_key_id": s})}}),
        ("env json web token", letters("jwt", 43), lambda s: {"env": {"SESSION": token + s}}),
        ("image tag", HF + letters("tag", 34), lambda s: {"image": f"registry.example/ada:{s}"}),
        ("image with a login", letters("reg", 20), lambda s: {"image": f"https://ada:{s}@reg.example/x:1"}),
        ("port list", f"ghp_{letters('port', 36)}", lambda s: {"ports": [f"8080:8080 -e GH={s}"]}),
        ("name of the run", HF + letters("name", 34), lambda s: {"name": s}),
        ("argument of another type", f"sk-ant-{letters('type', 40)}", lambda s: {"ports": s}),
        ("value in place of a name", HF + letters("byname", 34), lambda s: {"secret_env": [s]}),
    ]


def strangers() -> list[tuple[str, str, Make]]:
    """Into arguments that ``create_instance`` does not have."""
    return [
        ("onstart", HF + letters("onstart", 34), lambda s: {"onstart": f"export HF_TOKEN={s}"}),
        ("image login", letters("login", 24), lambda s: {"image_login": f"-u ada -p {s} docker.io"}),
        ("args", letters("args", 40), lambda s: {"args": ["--api-key", s]}),
    ]


def jobs() -> list[tuple[str, str, Make]]:
    """Into ``start_job``."""
    return [
        ("command option", letters("opt", 40), lambda s: {"command": ["python3", "t.py", "--api-key", s]}),
        ("command assignment", letters("set", 40), lambda s: {"command": ["sh", "-c", f"TOKEN={s} python3 t.py"]}),
        ("command header", letters("head", 48), lambda s: {"command": ["curl", "-H", f"Authorization: Bearer {s}"]}),
        ("command clone", f"glpat-{letters('clone', 22)}",
         lambda s: {"command": ["git", "clone", f"https://oauth2:{s}@gitlab.example/a/b"]}),
        ("command encoded", zipped(f"export TOKEN={HF}{letters('cmd', 34)}"),
         lambda s: {"command": ["sh", "-c", f"echo {s}|base64 -d|gunzip|sh"]}),
        ("env of the job", hexes("jobenv"), lambda s: {"env": {"WANDB_API_KEY": s}}),
        ("working folder", HF + letters("cwd", 34), lambda s: {"cwd": f"/workspace/{s}"}),
        ("results folder", HF + letters("out", 34), lambda s: {"results": [f"/workspace/{s}"]}),
    ]  # fmt: skip


def notebook(secret: str) -> str:
    cell: Json = {"cell_type": "code", "metadata": {}, "outputs": [], "source": [f'login(token="{secret}")\n']}
    return json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}, indent=1)


def in_lines(blob: str) -> str:
    return "\n".join(blob[i : i + 76] for i in range(0, len(blob), 76))


def files() -> list[tuple[str, str, Callable[[str], str | bytes]]]:
    """Among the files of ``push_files``."""
    long = zipped(f"export HF_TOKEN={HF}{letters('f6', 34)} # {letters('filler', 60)}")
    return [
        (".env", hexes("f1"), lambda s: f"WANDB_API_KEY={s}\n"),
        ("analysis.ipynb", HF + letters("f2", 34), notebook),
        ("config.yaml", letters("f3", 24), lambda s: f"db:\n  password: {s}\n"),
        ("setup.sh", HF + letters("f4", 34), lambda s: f"#!/bin/sh\nhuggingface-cli login --token {s}\n"),
        ("boot.sh", zipped(f"export A={HF}{letters('f5', 34)}"), lambda s: f"echo {s}|base64 -d|gunzip|sh\n"),
        ("hook.sh", long[:76], lambda s: f"base64 -d <<E|gunzip|sh\n{in_lines(long)}\nE\n"),
        ("id_ed25519", letters("f7", 128)[:64], lambda s: key_file("f7")),
        (".aws/credentials", letters("f8", 40), lambda s: f"[default]\naws_secret_access_key = {s}\n"),
        (".netrc", hexes("f9"), lambda s: f"machine api.wandb.ai login user password {s}\n"),
        ("kaggle.json", hexes("f10", 32), lambda s: json.dumps({"username": "ada", "key": s})),
        (".git-credentials", letters("f11", 20), lambda s: f"https://ada:{s}@github.com\n"),
        (".npmrc", f"npm_{letters('f12', 36)}", lambda s: f"//registry.npmjs.org/:_authToken={s}\n"),
        ("requirements.txt", letters("f13", 20), lambda s: f"git+https://ada:{s}@git.example/lib.git\n"),
        ("Dockerfile", f"pypi-{letters('f14', 50)}", lambda s: f"FROM python\nENV PIP_TOKEN={s}\n"),
        ("rclone.conf", letters("f15", 30), lambda s: f"[s3]\nsecret_access_key = {s}\n"),
        ("train_old.py", f"sk-proj-{letters('f16', 40)}", lambda s: f'import openai\nopenai.api_key = "{s}"\n'),
        ("notes-utf16.txt", letters("f17", 24), lambda s: f"password: {s}\n".encode("utf-16")),
        ("windows.txt", hexes("f18"), lambda s: f"set API_KEY={s}\r\n"),
    ]


def pushed(name: str, secret: str, text: Callable[[str], str | bytes]) -> Plant:
    content = text(secret)
    raw = content if isinstance(content, bytes) else content.encode()
    return Plant(f"file {name}", "push_files", {}, secret, files={name: raw, "train.py": b"print(1)\n"})


RUNNABLE: Json = {"command": ["python3", "train.py"]}
PLANTS = (
    *(Plant(place, "create_instance", make(secret), secret) for place, secret, make in (*rentals(), *strangers())),
    *(Plant(place, "start_job", RUNNABLE | make(secret), secret) for place, secret, make in jobs()),
    *(pushed(name, secret, text) for name, secret, text in files()),
)
