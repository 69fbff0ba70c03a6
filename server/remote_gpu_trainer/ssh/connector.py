"""Opening connections: endpoints in their order, the pinned host key, our own client key."""

import logging
import socket
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anyio

from remote_gpu_trainer.domain.ids import LeaseId
from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.errors import HostAuthFailed, HostKeyChanged, HostUnreachable
from remote_gpu_trainer.ports import Clock
from remote_gpu_trainer.ssh.clientkey import ClientKey
from remote_gpu_trainer.ssh.host import MAX_PACKET, NEAR_S, WINDOW, ParamikoHost
from remote_gpu_trainer.ssh.hostkeys import HostKeyPins, PinSource
from remote_gpu_trainer.ssh.openssh import OpensshTarget

USER = "root"
KEEPALIVE_S = 15
FAR_S = 0.06
"""Round trip in seconds that no busy computer explains."""
REKEY_BYTES = 1 << 35
QUIET = "remote_gpu_trainer.ssh.wire"
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_FAST_FIRST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")


class ParamikoConnector:
    """A HostConnector over paramiko. Everything blocking happens on worker threads."""

    def __init__(self, home: Path, *, clock: Clock, known_keys: HostKeyPins | None = None) -> None:
        self._clock = clock
        self._pins = known_keys or HostKeyPins(home)
        self._key = ClientKey(home)
        self._pinning = threading.Lock()
        logging.getLogger(QUIET).disabled = True

    def public_key(self) -> str:
        """The one-line public key that boxes must accept; made at first use."""
        return self._key.public()

    def expect(self, lease: LeaseId, keys: Iterable[str]) -> None:
        """Host keys that the container's log named for this lease; see HostKeyPins.expect."""
        with self._pinning:
            self._pins.expect(lease, keys)

    def pin_source(self, lease: LeaseId) -> PinSource | None:
        """Where the pin of a lease came from; None before first contact."""
        return self._pins.pin_source(lease)

    def machine_shell(self, lease: LeaseId, host: str, port: int) -> tuple[str, ...]:
        """The local ``ssh`` command, without user and host, to a machine's own SSH, which is not the container's.

        Its host key is pinned for the lease at first contact, in a file of its own.
        """
        known = self._pins.file(lease).with_suffix(".machine")
        known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        endpoint = Endpoint(kind=EndpointKind.DIRECT, host=host, port=port)
        target = OpensshTarget(endpoint, "", self._key.ensure(), known, f"{lease}-machine", "accept-new")
        return ("ssh", *target.options())

    async def connect(self, lease: LeaseId, endpoints: Sequence[Endpoint], *, timeout_s: float = 20.0) -> ParamikoHost:
        """Connect to the first endpoint that answers, best first, and check the pinned host key.

        Args:
            lease: Whose box it is; names the pin.
            endpoints: Tried in this order.
            timeout_s: Seconds for each endpoint: TCP, key exchange and login together take at most about three times.

        Raises:
            HostUnreachable: none answered; ``details["tried"]`` names each and why.
            HostKeyChanged: the key is not the one pinned for this lease. No other endpoint is tried.
            HostAuthFailed: our key was refused.
        """
        if not endpoints:
            raise HostUnreachable("the machine has no endpoint yet", effect="No connection was made.")
        tried: list[str] = []
        refused = False
        for endpoint in endpoints:
            where = f"{endpoint.kind.value} {endpoint.host}:{endpoint.port}"
            try:
                transport, round_trip_s = await self._open(lease, endpoint, timeout_s)
            except _Refused as why:
                refused = refused or why.login
                tried.append(f"{where}: {why}")
                continue
            target = OpensshTarget(endpoint, USER, self._key.path, self._pins.file(lease), lease)
            return ParamikoHost(endpoint, transport, target, round_trip_s)
        if refused:
            raise HostAuthFailed(
                f"the machine refuses our key: {'; '.join(tried)}",
                next_step="attach the public key to the account before renting, or to this instance, and try again",
                effect="No command was run.",
                details={"tried": tried},
            )
        raise HostUnreachable(
            f"no endpoint answered: {'; '.join(tried)}", effect="No command was run.", details={"tried": tried}
        )

    async def _open(self, lease: LeaseId, endpoint: Endpoint, timeout_s: float) -> tuple[Any, float]:
        """A logged-in transport and its round trip in seconds; what a cancelled attempt opens is closed."""
        given_up = threading.Event()

        def work() -> tuple[Any, float]:
            transport, round_trip_s = self._open_blocking(lease, endpoint, timeout_s)
            if given_up.is_set():
                transport.close()
            return transport, round_trip_s

        try:
            return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except BaseException:  # a cancellation too: the thread goes on, and must close what it still opens
            given_up.set()
            raise

    def _open_blocking(self, lease: LeaseId, endpoint: Endpoint, timeout_s: float) -> tuple[Any, float]:
        import paramiko
        from paramiko.ssh_exception import IncompatiblePeer

        try:
            key: Any = paramiko.Ed25519Key.from_private_key_file(str(self._key.ensure()))
            sock = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s)
        except (OSError, UnicodeError) as bad:
            raise _Refused(f"no TCP connection ({_reason(bad)})") from bad
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport: Any = None
        try:
            transport = paramiko.Transport(sock, default_window_size=WINDOW, default_max_packet_size=MAX_PACKET)
            transport.set_log_channel(QUIET)
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = timeout_s
            self._choose(transport, lease)
            transport.start_client(timeout=timeout_s)
            shown: Any = transport.get_remote_server_key()
            with self._pinning:
                self._pins.check(lease, f"{shown.get_name()} {shown.get_base64()}")
            asked = self._clock.monotonic()
            transport.auth_publickey(USER, key)
            login_s = self._clock.monotonic() - asked
            _rekey_late(transport)
            transport.set_keepalive(KEEPALIVE_S)
            round_trip_s = self._round_trip_s(transport, timeout_s, login_s)
        except paramiko.AuthenticationException as bad:
            _shut(transport, sock)
            raise _Refused("our key was refused", login=True) from bad
        except (OSError, EOFError, paramiko.SSHException) as bad:
            _shut(transport, sock)
            if isinstance(bad, IncompatiblePeer) and self._pins.acceptable(lease) and "host key" in str(bad):
                raise HostKeyChanged(
                    f"lease {lease} is pinned to a key of another type than any the machine now shows",
                    effect="Nothing was sent to the machine.",
                ) from bad
            raise _Refused(f"no SSH ({_reason(bad)})") from bad
        except BaseException:  # whatever ended it, half a connection must not stay open
            _shut(transport, sock)
            raise
        return transport, round_trip_s

    def _round_trip_s(self, transport: Any, timeout_s: float, login_s: float) -> float:
        """At most so much: half of the login, which is two questions. Only a doubtful length is worth one of its own.

        The host looks again whenever it opens a channel, for a login may have met a busy moment.
        """
        shortest = login_s / 2
        if NEAR_S < shortest < FAR_S:
            asked = self._clock.monotonic()
            transport.open_session(timeout=timeout_s).close()
            shortest = min(shortest, self._clock.monotonic() - asked)
        return shortest

    def _choose(self, transport: Any, lease: LeaseId) -> None:
        """Ask for the pinned type of host key, and for ciphers that processors have instructions for."""
        options = transport.get_security_options()
        known = self._pins.acceptable(lease)
        if known:
            kinds = [kind for key in known for kind in _SIGNATURES.get(key.split()[0], (key.split()[0],))]
            options.key_types = [kind for kind in kinds if kind in options.key_types] or options.key_types
        first = [cipher for cipher in _FAST_FIRST if cipher in options.ciphers]
        options.ciphers = [*first, *(cipher for cipher in options.ciphers if cipher not in first)]


def _rekey_late(transport: Any) -> None:
    """Let an AES connection carry 32 GiB on one key, half of what RFC 4344 allows (2^32 blocks of 16 bytes).

    paramiko asks for new keys after 512 MiB. A channel that the far side closes meanwhile stops its only reading
    thread for 30 s, and then the connection ends (paramiko 5.1).
    """
    if str(transport.remote_cipher).startswith("aes"):
        transport.packetizer.REKEY_BYTES = REKEY_BYTES


class _Refused(Exception):
    """One endpoint did not work; the text says why."""

    def __init__(self, why: str, *, login: bool = False) -> None:
        super().__init__(why)
        self.login = login


def _shut(transport: Any, sock: socket.socket) -> None:
    if transport is not None:
        transport.close()
    sock.close()


def _reason(bad: BaseException) -> str:
    text = "".join(c if c.isprintable() else "?" for c in str(bad))[:160]
    return text or type(bad).__name__
