"""Where SSH answers, read from a row: the direct port first, then the proxy with its doubtful port."""

import re
from ipaddress import ip_address

from remote_gpu_trainer.domain.instances import Endpoint, EndpointKind
from remote_gpu_trainer.vastai.wire import WireInstance

_LABELS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
SSH_PORT = "22/tcp"


def endpoints_of(row: WireInstance, *, loopback_ok: bool) -> tuple[Endpoint, ...]:
    """Best first; empty while the platform reports none.

    The proxy's port is one more than reported where the run type holds jupyter, by the CLI 1.9.1, and is not, by its
    SDK: both are given. An address of this machine is dropped unless the platform itself is an emulator here.
    """
    found: list[Endpoint] = []
    direct = row.ports.get(SSH_PORT)
    if direct is not None and (host := usable_host(row.public_ipaddr, loopback_ok=loopback_ok)):
        found.append(Endpoint(kind=EndpointKind.DIRECT, host=host, port=direct))
    if row.ssh_port is not None and (host := usable_host(row.ssh_host, loopback_ok=loopback_ok)):
        ports = [row.ssh_port + 1, row.ssh_port] if "jupyter" in (row.image_runtype or "") else [row.ssh_port]
        found += [Endpoint(kind=EndpointKind.PROXY, host=host, port=p) for p in ports if 0 < row.ssh_port and p < 65536]
    return tuple(found)


def usable_host(text: str | None, *, loopback_ok: bool) -> str | None:
    """A host name or address that SSH may be sent to, or None."""
    host = (text or "").strip()
    try:
        address = ip_address(host)
    except ValueError:
        return _usable_name(host, loopback_ok=loopback_ok)
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return None
    return host if loopback_ok or not address.is_loopback else None


def _usable_name(host: str, *, loopback_ok: bool) -> str | None:
    labels = host.split(".")
    if not host or len(host) > 253 or not all(_LABELS.fullmatch(label) for label in labels):
        return None
    if all(label.isdigit() for label in labels):
        return None
    local = host.lower() == "localhost" or host.lower().endswith(".localhost")
    return host if loopback_ok or not local else None
