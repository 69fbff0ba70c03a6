"""Secrets by name, from the environment or a keyring; what was seen is known for redaction."""

from collections.abc import Iterator
from typing import ClassVar

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring

from remote_gpu_trainer.errors import ConfigError
from remote_gpu_trainer.secretstore import KEYRING_SERVICE, SecretStore, into_keyring

VALUE = "s3cr3t-of-the-person"


class InMemory(KeyringBackend):
    """A real backend of the library, which keeps things in this process."""

    priority: ClassVar[float] = 1  # pyright: ignore[reportIncompatibleVariableOverride]  # as the library's own backends do

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture
def held() -> Iterator[InMemory]:
    before, mine = keyring.get_keyring(), InMemory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.fixture
def no_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield
    keyring.set_keyring(before)


def test_a_secret_of_the_keyring_is_found_by_its_name_and_known_from_then_on(held: InMemory) -> None:
    held.held[KEYRING_SERVICE, "HF_TOKEN"] = VALUE
    store = SecretStore({})
    assert store.known() == ()

    assert store.value("HF_TOKEN") == VALUE

    assert store.known() == (VALUE,)


def test_the_servers_environment_wins_over_the_keyring(held: InMemory) -> None:
    held.held[KEYRING_SERVICE, "HF_TOKEN"] = "of the keyring"

    assert SecretStore({"HF_TOKEN": VALUE}).value("HF_TOKEN") == VALUE


def test_what_the_environment_holds_is_known_before_anybody_asks_for_it() -> None:
    assert SecretStore({"HF_TOKEN": VALUE}).known() == (VALUE,)


def test_another_programs_entry_is_not_taken(held: InMemory) -> None:
    held.held["another program", "HF_TOKEN"] = VALUE

    assert SecretStore({}).value("HF_TOKEN") is None


@pytest.mark.usefixtures("no_keyring")
def test_without_a_keyring_a_secret_is_merely_missing() -> None:
    assert SecretStore({}).value("HF_TOKEN") is None


@pytest.mark.usefixtures("no_keyring")
def test_without_a_keyring_storing_says_what_to_do_instead_and_not_the_value() -> None:
    with pytest.raises(ConfigError, match="RGT_SECRET_HF_TOKEN") as caught:
        into_keyring("HF_TOKEN", VALUE)

    assert VALUE not in str(caught.value)


def test_what_is_stored_is_what_a_run_is_given(held: InMemory) -> None:
    into_keyring("HF_TOKEN", VALUE)

    assert SecretStore({}).value("HF_TOKEN") == VALUE


def test_a_store_does_not_show_its_values(held: InMemory) -> None:
    store = SecretStore({"HF_TOKEN": VALUE})
    store.remember(["HF_TOKEN"])

    assert VALUE not in repr(store)
