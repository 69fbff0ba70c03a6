"""With boxes that are real SSH servers, the addresses that the client reads are answered by SSH."""

import asyncio

import pytest

from remote_gpu_trainer.domain.ids import InstanceId
from remote_gpu_trainer.domain.instances import EndpointKind, InstanceOrder, InstancePhase
from remote_gpu_trainer.domain.offers import OfferQuery
from remote_gpu_trainer.domain.units import GiB
from remote_gpu_trainer.errors import NoSuchInstance, RequestRejected
from remote_gpu_trainer.vastai.client import VastClient
from tests.contract.vastai.conftest import Emulator

pytestmark = pytest.mark.anyio
BOXES = "paramiko"


async def greeting(host: str, port: int) -> bytes:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 10)
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()


async def running(emulator: Emulator, client: VastClient) -> InstanceId:
    offer = (await client.search_offers(OfferQuery(), allocated_storage_gib=20))[0]
    order = InstanceOrder(
        offer_id=offer.id,
        image="python:3.12",
        disk_gib=GiB(20),
        label="rgt/a-aaaaaa",
        onstart="",
        env={},
        ports=("80:80",),
    )
    instance_id = await client.create_instance(order)
    for _ in range(40):
        await emulator.pass_by(120)
        found = await client.instance(instance_id)
        if found is not None and found.phase is InstancePhase.RUNNING:
            return instance_id
        await asyncio.sleep(0.05)
    raise AssertionError("the box did not come up")


async def test_both_endpoints_of_a_running_box_speak_ssh_and_its_disk_can_be_rescued(
    emulator: Emulator, client: VastClient
) -> None:
    instance_id = await running(emulator, client)
    await emulator.pass_by(5)
    found = await client.instance(instance_id)
    assert found is not None
    assert [endpoint.kind for endpoint in found.endpoints] == [EndpointKind.DIRECT, EndpointKind.PROXY]
    for endpoint in found.endpoints:
        assert (await greeting(endpoint.host, endpoint.port)).startswith(b"SSH-2.0-")
    assert found.ports["22/tcp"] == found.endpoints[0].port
    await client.set_state(instance_id, "stopped")
    address = await client.request_rsync(instance_id)
    assert address.module == str(instance_id)
    assert (await greeting(address.host, address.port)).startswith(b"SSH-2.0-")
    await client.destroy_instance(instance_id)
    with pytest.raises((NoSuchInstance, RequestRejected), match="Nothing was copied"):
        await client.request_rsync(instance_id)
