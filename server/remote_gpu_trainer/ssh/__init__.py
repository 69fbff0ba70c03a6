"""Connections to rented machines: keys, pins, channels."""

from remote_gpu_trainer.ssh.connector import ParamikoConnector
from remote_gpu_trainer.ssh.host import ParamikoHost
from remote_gpu_trainer.ssh.hostkeys import HostKeyPins

__all__ = ["HostKeyPins", "ParamikoConnector", "ParamikoHost"]
