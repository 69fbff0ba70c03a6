"""What a renter does in a scene: rent what is staged, log in, run a command, copy a file."""

import io
from typing import Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.unit.emulator.renter import Renter

Json = dict[str, Any]
PATIENCE_S = 20.0


class Tenant:
    """One account with one SSH key."""

    def __init__(self, renter: Renter) -> None:
        self.renter = renter
        text = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        self.pem = text.decode()
        self.key: Any = paramiko.Ed25519Key.from_private_key(io.StringIO(self.pem))
        public = f"{self.key.get_name()} {self.key.get_base64()} tenant@example"
        assert renter.api.post("/api/v0/ssh/", json={"ssh_key": public}).status_code == 200
        self._clients: list[Any] = []

    def stage(self, scenario: str) -> Json:
        """Let the platform make the scene."""
        return self.renter.do(f"/scenarios/{scenario}/stage")

    def rent(self, scene: Json, **changed: Any) -> int:
        """Send the create call of a scene."""
        answer = self.renter.api.put(f"/api/v0/asks/{scene['offer']}/", json=scene["order"] | changed)
        assert answer.status_code == 200, answer.text
        return answer.json()["new_contract"]

    def running(self, scene: Json, **changed: Any) -> int:
        """Rent, and wait until it runs and its ports are known."""
        contract = self.rent(scene, **changed)
        self.renter.running(contract)
        self.renter.wait(5)
        return contract

    def strike(self, scene: Json, contract: int) -> Json:
        """Let the platform play its part."""
        return self.renter.do(f"/scenarios/{scene['scenario']}/strike", instance=contract)

    def address(self, contract: int, *, proxy: bool = False) -> tuple[str, int]:
        """Where SSH answers, as the API tells it."""
        row = self.renter.show(contract)
        if proxy:
            return row["ssh_host"], row["ssh_port"]
        return row["public_ipaddr"], int(row["ports"]["22/tcp"][0]["HostPort"])

    def login(self, address: tuple[str, int]) -> Any:
        """A new SSH connection. Raises OSError or SSHException when nobody opens."""
        client: Any = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())  # noqa: S507  # a box of the test itself
        self._clients.append(client)
        host, port = address
        client.connect(host, port, "root", pkey=self.key, allow_agent=False, look_for_keys=False, timeout=PATIENCE_S)
        return client

    def run(self, client: Any, command: str) -> tuple[int, str]:
        """Exit status and all that a command prints."""
        channel = client.get_transport().open_session()
        channel.settimeout(PATIENCE_S)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        said: bytes = channel.makefile("rb").read()
        return channel.recv_exit_status(), said.decode()

    def leave(self) -> None:
        """Log out everywhere and destroy what is rented."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        for held in self.renter.look("/instances")["instances"]:
            if held["phase"] == "offline":
                self.renter.do(f"/instances/{held['id']}/return")
            if held["phase"] != "destroyed":
                self.renter.destroy(held["id"])
        for stranger in self.renter.look("/strangers")["strangers"]:
            self.renter.control.request("DELETE", "/strangers", json={"id": stranger["id"]})
        self.renter.control.request("DELETE", "/faults")
