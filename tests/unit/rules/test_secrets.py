"""A planted credential is found wherever it stands; ordinary files raise no alarm."""

import base64
import gzip
import sysconfig
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from remote_gpu_trainer.rules.secrets import find_secrets, find_secrets_in_value, secret_file

HF = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
AWS = "AKIA" + "Q7WERTYUIOPASDFG"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzT9aQ8kLmN"
RANDOM = "pZ7vK2mQ9xT4rB8nL5wY"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def gz(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode())).decode()


PLANTED: list[str] = [
    f"export HF_TOKEN={HF}",
    f"export HF_TOKEN='{HF}'",
    f"huggingface-cli login --token {HF}",
    f"from huggingface_hub import login; login('{HF}')",
    f"WANDB_API_KEY={HEX}",
    f"wandb login {HEX} # WANDB_API_KEY={HEX}",
    f"aws_access_key_id = {AWS}",
    f"AWS_SECRET_ACCESS_KEY={AWS_SECRET}",
    f'aws_secret_access_key = "{AWS_SECRET}"',
    f'{{"secretAccessKey": "{AWS_SECRET}"}}',
    f'"source": ["api_key = \\"{RANDOM}\\"\\n"]',
    f"password: {RANDOM}",
    f"PGPASSWORD={RANDOM} psql",
    f"mysql://root:{RANDOM}@db.internal/train",
    "postgres://ada:hunter22@db.internal/train",
    f"git clone https://ada:{HF}@huggingface.co/ada/model",
    f"git clone https://oauth2:glpat-{RANDOM}@gitlab.com/a/b",
    f"curl -H 'Authorization: Bearer {RANDOM}{RANDOM}' https://api.example.org",
    f"machine api.wandb.ai login user password {HEX}",
    f"-u ada -p {RANDOM} docker.io",
    f"docker login -u ada -p dckr_pat_{RANDOM}",
    f"docker login --password {RANDOM}",
    PEM,
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\nMIIE",
    f"ghp_{'aB3dE5' * 6}",
    f"github_pat_{'aB3dE5gH7' * 6}",
    f"sk-ant-api03-{RANDOM}{RANDOM}",
    f"OPENAI_API_KEY=sk-proj-{RANDOM}{RANDOM}",
    f"AIza{'SyB7x' * 7}",
    f"xoxb-123456789012-{RANDOM}",
    f"sk_live_{RANDOM}{RANDOM}",
    f"pypi-AgEIcHlwaS5vcmc{RANDOM}{RANDOM}",
    f"//registry.npmjs.org/:_authToken=npm_{'aB3dE5' * 6}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{RANDOM}{RANDOM}",
    f"echo {b64(f'export HF_TOKEN={HF}')} | base64 -d | sh",
    f"echo {gz(f'export HF_TOKEN={HF}' + chr(10) + 'python train.py')} | base64 -d | gunzip | sh",
    f"python -c 'exec(zlib.decompress(b64decode({b64('x')!r})))' {gz(gz(f'AWS_SECRET_ACCESS_KEY={AWS_SECRET}'))}",
    f"echo {b64(b64(f'TOKEN={HF}'))} | base64 -d | base64 -d | sh",
    f"image: registry.example/ada:{HF}",
    f"VAST_API_KEY={HEX}{HEX[:24]}",
    f"client_secret={RANDOM}",
    "AZURE_STORAGE_CONNECTION_STRING=DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + AWS_SECRET + "==",
    base64.b64encode(zlib.compress(f"password={RANDOM}".encode() * 2)).decode(),
]


@pytest.mark.parametrize("line", PLANTED, ids=range(len(PLANTED)))
def test_a_planted_credential_is_found_and_its_value_not_kept(line: str) -> None:
    found = find_secrets(f"#!/bin/sh\n{line}\n", "onstart")

    assert [sighting.place for sighting in found] == ["onstart line 2"] * len(found)
    assert found
    for value in (HF, HEX, AWS, AWS_SECRET, RANDOM):
        assert value not in str(found)


def test_there_are_at_least_40_forms() -> None:
    assert len(set(PLANTED)) >= 40


ORDINARY = [
    "export HF_TOKEN=$HF_TOKEN",
    'export HF_TOKEN="${HF_TOKEN}"',
    "token = os.environ['HF_TOKEN']",
    "password: <your password>",
    "api_key=YOUR_API_KEY_HERE_1234",
    "tokenizer = AutoTokenizer.from_pretrained('gpt2-medium-355M')",
    "max_tokens=4096",
    "token_embedding_weight: model.embed_tokens.0.weight",
    "pip install torch==2.4.0 --index-url https://download.pytorch.org/whl/cu124",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "git checkout 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "rsync -e 'ssh -p 33526' root@203.0.113.7:/workspace .",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKpZ7vK2mQ9xT4rB8nL5wYpZ7vK2mQ9xT4rB8nL5wY ada@example",
    "docker run -p 8080:8080 image",
    "mkdir -p /workspace/run-2026-08-14",
    "https://user@example.org/path",
    "password = getpass.getpass('password 1: ')",
    "secret_env: [HF_TOKEN, WANDB_API_KEY]",
    ":type  tokens: antlr4.BufferedTokenStream.BufferedTokenStream",
    ":param proxy_url: The proxy url, i.e. https://username:password@proxy.com",
    "private_key: PKCS7PrivateKeyTypes,",
]


@pytest.mark.parametrize("line", ORDINARY)
def test_an_ordinary_line_raises_no_alarm(line: str) -> None:
    assert find_secrets(line, "x") == ()


ORDINARY_PACKAGES = ("numpy", "paramiko", "typer", "rich", "tenacity", "mcp", "starlette", "uvicorn", "hypothesis")
CONFIGS = (".toml", ".cfg", ".ini", ".yaml", ".yml", ".sh", ".txt", ".md", ".json", ".rst")
NOT_ORDINARY = frozenset({"tests", "SelfTest", "examples", "data"})
"""Folders whose files hold keys on purpose: test keys, and what cloud services answer in their documentation."""
SITE = Path(sysconfig.get_path("purelib"))


def readable(paths: Iterable[Path]) -> dict[str, str]:
    chosen = (path for path in paths if path.stat().st_size < 60_000)
    return {
        str(path.relative_to(SITE)): path.read_text(encoding="utf-8", errors="replace")
        for path in chosen
        if NOT_ORDINARY.isdisjoint(path.relative_to(SITE).parts)
    }


def alarms(texts: dict[str, str]) -> dict[str, str]:
    return {name: str(found) for name, text in texts.items() if (found := find_secrets(text, name))}


def test_200_ordinary_scripts_of_installed_packages_raise_no_alarm() -> None:
    scripts = readable(path for package in ORDINARY_PACKAGES for path in sorted((SITE / package).rglob("*.py")))
    chosen = dict(list(scripts.items())[::2][:300])
    assert len(chosen) >= 200

    assert alarms(chosen) == {}


def test_ordinary_configs_and_texts_of_installed_packages_raise_no_alarm() -> None:
    foreign = (path for path in sorted(SITE.rglob("*")) if "remote_gpu_trainer" not in path.parts)
    configs = readable(path for path in foreign if path.suffix in CONFIGS and path.is_file())
    chosen = dict(list(configs.items())[:: max(1, len(configs) // 250)])
    assert len(chosen) >= 100

    assert alarms(chosen) == {}


def test_an_encoding_that_is_wrapped_over_lines_is_put_together() -> None:
    blob = gz(f"#!/bin/sh\necho filler 8273645\nexport HF_TOKEN={HF}\n")
    wrapped = "\n".join(blob[i : i + 76] for i in range(0, len(blob), 76))
    assert wrapped.count("\n") >= 1

    found = find_secrets(f"base64 -d <<'EOF' | gunzip | sh\n{wrapped}\nEOF\n", "onstart")

    assert [(sighting.place, sighting.kind) for sighting in found] == [
        ("onstart line 2", "hugging-face-token (encoded)")
    ]


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "run/.env.production",
        "/home/ada/.ssh/id_ed25519",
        ".aws/credentials",
        "x/.netrc",
        "kaggle.json",
        ".config/vastai/vast_api_key",
        "key.pem",
        "C:\\Users\\ada\\.env",
    ],
)
def test_a_file_that_holds_credentials_by_name_is_found(path: str) -> None:
    found = secret_file(path)

    assert found is not None
    assert found.place == path


@pytest.mark.parametrize(
    "path", ["train.py", "env.py", ".env.example", "id_ed25519.pub", "pem.md", "configs/train.json"]
)
def test_other_names_are_fine(path: str) -> None:
    assert secret_file(path) is None


def test_the_name_of_a_variable_counts() -> None:
    assert find_secrets_in_value("WANDB_API_KEY", HEX)[0].place == "env WANDB_API_KEY"
    assert find_secrets_in_value("COMMIT", HEX) == ()


@pytest.mark.timeout(20)
@pytest.mark.timeout(10)  # what is asserted: a search that goes back over the line takes minutes
@pytest.mark.parametrize(
    "piece",
    [
        *("token ", "token=", "token" + " " * 4000, " ", "://", "a:", "-u x ", "machine a login b ", "Bearer "),
        *("eyJaaaaaaaaaaa.", "eyJ", "-----BEGIN ", "-----BEGIN A A A A ", "cred", "AKIA", "A", "-p "),
    ],
)
def test_a_long_line_made_to_be_slow_is_not(piece: str) -> None:
    find_secrets(piece * (300_000 // len(piece)), "x")


def test_a_bomb_of_zeros_is_cut_and_ends() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * 50_000_000)).decode()

    assert find_secrets(f"echo {bomb} | base64 -d", "onstart") == ()
