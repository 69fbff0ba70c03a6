"""Which machine is let in: the pinned one, with our own key, and no other."""

from pathlib import Path

import pytest

from remote_gpu_trainer.clock import SystemClock
from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.errors import ConfigError, HostAuthFailed, HostKeyChanged, HostUnreachable, InvalidRequest
from remote_gpu_trainer.ssh import ParamikoConnector
from remote_gpu_trainer.ssh.hostkeys import keys_in_log
from tests.unit.ssh.conftest import LEASE, Side, sshd

pytestmark = pytest.mark.anyio


class Ticking(SystemClock):
    """A clock that moves by so much at each look."""

    def __init__(self, step_s: float) -> None:
        self._step_s, self.looks = step_s, 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.looks * self._step_s


async def test_first_contact_is_pinned_and_another_machine_is_refused(served: Side, tmp_path: Path) -> None:
    await served.connect()
    assert served.connector.pin_source(LEASE) == "first-contact"
    with (
        sshd(tmp_path / "stranger", served.connector.public_key()) as port,
        pytest.raises(HostKeyChanged, match="Nothing was sent"),
    ):
        await served.connect(port)
    await served.connect()


async def test_the_key_in_the_machines_log_is_the_only_one_that_is_taken(real: Side, tmp_path: Path) -> None:
    own = (tmp_path / "sshd" / "key.pub").read_text()
    real.connector.expect(LEASE, keys_in_log(f"12:00 booting\nrgt-hostkey {own}\n"))
    await real.connect()
    assert real.connector.pin_source(LEASE) == "log"


async def test_a_machine_whose_key_is_not_the_one_in_the_log_is_refused_at_first_contact(
    real: Side, tmp_path: Path
) -> None:
    with sshd(tmp_path / "other", real.connector.public_key()):
        other = (tmp_path / "other" / "key.pub").read_text()
    real.connector.expect(LEASE, keys_in_log(f"rgt-hostkey {other}\n"))
    with pytest.raises(HostKeyChanged, match="Nothing was sent"):
        await real.connect()
    assert real.connector.pin_source(LEASE) is None


async def test_a_log_that_names_another_key_than_the_pinned_one_changes_no_pin(real: Side, tmp_path: Path) -> None:
    await real.connect()
    pinned = real.pins.pinned(LEASE)
    with sshd(tmp_path / "other", real.connector.public_key()):
        other = (tmp_path / "other" / "key.pub").read_text()
    with pytest.raises(HostKeyChanged):
        real.connector.expect(LEASE, keys_in_log(f"rgt-hostkey {other}\n"))
    assert real.pins.pinned(LEASE) == pinned


async def test_the_first_endpoint_that_answers_is_taken_and_all_that_failed_are_named(served: Side) -> None:
    dead = Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=9)
    alive = Endpoint(kind=EndpointKind.PROXY, host="127.0.0.1", port=served.port)
    host = await served.connector.connect(LEASE, [dead, alive], timeout_s=10)
    served.opened.append(host)
    assert host.endpoint == alive
    assert 0 < host.round_trip_s < 10
    with pytest.raises(HostUnreachable) as gone:
        await served.connector.connect(LEASE, [dead], timeout_s=10)
    assert "direct 127.0.0.1:9: no TCP connection" in str(gone.value)


@pytest.mark.parametrize(
    ("step_s", "round_trip_s", "asked"),
    [(0.01, 0.005, 1), (0.1, 0.05, 2), (0.2, 0.1, 1)],
    ids=["near", "doubtful", "far"],
)
async def test_how_far_a_machine_is_shows_in_the_login_and_is_asked_only_in_doubt(
    served: Side, step_s: float, round_trip_s: float, asked: int
) -> None:
    clock = Ticking(step_s)
    endpoint = Endpoint(kind=EndpointKind.DIRECT, host="127.0.0.1", port=served.port)
    host = await ParamikoConnector(served.home, clock=clock).connect(LEASE, [endpoint], timeout_s=10)
    served.opened.append(host)
    assert host.round_trip_s == pytest.approx(round_trip_s)
    assert clock.looks == 2 * asked


async def test_a_login_that_met_a_busy_moment_is_corrected_by_the_next_command(served: Side) -> None:
    host = await served.connect()
    host.round_trip_s = 1000.0
    await host.run(["true"], timeout_s=10)
    assert host.round_trip_s < 100


async def test_a_key_that_the_machine_does_not_know_is_said_to_be_refused(side: Side, tmp_path: Path) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOj0y9jq6pMMiAPpmWj0cZPUwVE0XkQ0q5i0A3Kx8Sg"
    with sshd(tmp_path / "sshd", other) as port, pytest.raises(HostAuthFailed, match="refuses our key"):
        await side.connect(port)


async def test_a_private_key_that_others_can_read_is_not_used(served: Side) -> None:
    served.connector.public_key()
    key = served.home / "ssh" / "id_ed25519"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await served.connect()


async def test_a_lease_whose_name_is_no_file_name_has_no_pin(side: Side) -> None:
    with pytest.raises(InvalidRequest, match="no lease id"):
        side.pins.file(LeaseId("../up"))


async def test_only_the_last_boots_keys_count_and_garbage_is_none() -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIHOj0y9jq6pMMiAPpmWj0cZPUwVE0XkQ0q5i0A3Kx8Sg"
    late = key[:-4] + "AAAA"
    log = f"rgt-hostkey ssh-ed25519 {key}\nrgt-hostkey ssh-rsa {key}\nrgt-hostkey ssh-ed25519 {late}\nrgt-hostkey x y"
    assert keys_in_log(log) == [f"ssh-ed25519 {late}"]
