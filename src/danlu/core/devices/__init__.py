"""Devices behind one small interface: CPU, NVIDIA and AMD GPUs, Intel's, Apple's, Google's TPU.

`open_device` finds one, `Accelerator` is the interface. Nothing here imports torch at import time.
"""

from danlu.core.devices.accelerator import Accelerator
from danlu.core.devices.setup import accelerator_of, available_devices, open_device

__all__ = ["Accelerator", "accelerator_of", "available_devices", "open_device"]
