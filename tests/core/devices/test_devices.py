"""Devices: found, asked for, and asked; those that are not here by a fake of the interface they are reached through."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from danlu.api.doctor import doctor
from danlu.core.devices import accelerator_of, available_devices, open_device
from danlu.core.devices.gpu import GPU, peak_flops
from danlu.errors import ArgumentError


@pytest.fixture
def without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torch.cuda, torch.xpu, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda: False)


def test_auto_takes_the_best_device_that_is_there(without_accelerators: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_device().torch_device.type == "cpu"
    for kind, module in (("mps", torch.backends.mps), ("xpu", torch.xpu), ("cuda", torch.cuda)):
        monkeypatch.setattr(module, "is_available", lambda: True)
        assert open_device().torch_device.type == kind
        assert open_device(kind).torch_device.type == kind
    assert list(available_devices()) == ["cuda", "xpu", "mps", "cpu"]
    assert open_device("cpu").torch_device.type == "cpu"


@pytest.mark.parametrize("asked", ["cuda", "xpu", "mps"])
def test_a_device_that_is_not_there_is_refused_by_its_key(without_accelerators: None, asked: str) -> None:
    with pytest.raises(ArgumentError, match=rf"training\.device: torch finds no {asked} .* choose cpu or auto"):
        open_device(asked)


def test_the_seed_decides_the_random_numbers_of_the_cpu() -> None:
    device = open_device("cpu")
    device.seed(7)
    first = torch.rand(5)
    torch.manual_seed(7)
    assert torch.equal(first, torch.rand(5))
    device.seed(2**63 - 1)
    assert not torch.equal(first, torch.rand(5))


def test_the_peak_of_the_cpu_is_the_processs_memory() -> None:
    device = open_device("cpu")
    device.reset_peak()
    before = device.peak_bytes()
    block = torch.ones(40_000_000)
    device.synchronize()
    device.empty_cache()
    after = device.peak_bytes()
    assert before is not None and after is not None
    assert 0.9 * block.nbytes < after - before < 2 * block.nbytes
    free, total = device.free_bytes(), device.total_bytes()
    assert free is not None and total is not None and 0 < free < total
    assert device.peak_flops("fp32") is None


class Generator:
    def __init__(self) -> None:
        self.seeds: list[int] = []

    def manual_seed(self, value: int) -> None:
        self.seeds.append(value)


def test_a_card_is_asked_through_the_neutral_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = [Generator(), Generator()]
    module = SimpleNamespace(
        init=lambda: None, default_generators=generators, get_device_name=lambda: "NVIDIA H100 80GB HBM3"
    )
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module if kind == "cuda" else None)
    accelerator = torch.accelerator
    monkeypatch.setattr(accelerator, "current_device_index", lambda: 1)
    monkeypatch.setattr(accelerator, "max_memory_allocated", lambda: 5)
    monkeypatch.setattr(accelerator, "get_memory_info", lambda: (3, 8))
    device = GPU("cuda")
    device.seed(11)
    drawn = torch.rand(3)
    device.seed(11)
    assert torch.equal(drawn, torch.rand(3))  # the CPU's numbers too
    assert [generator.seeds for generator in generators] == [[], [11, 11]]  # the device in use, and no other
    assert (device.peak_bytes(), device.free_bytes(), device.total_bytes()) == (5, 3, 8)
    assert device.peak_flops("bf16") == 989.5e12


def test_what_a_backend_does_not_count_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("no allocator")

    for name in ("max_memory_allocated", "get_memory_info", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.accelerator, name, refuse)
    device = GPU("xpu")
    device.empty_cache()
    device.reset_peak()
    assert device.peak_bytes() is device.free_bytes() is device.total_bytes() is None


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA H100 80GB HBM3", "float8", 1979e12),
        ("NVIDIA A100-SXM4-40GB", "tf32", 156e12),
        ("NVIDIA A100 80GB PCIe", "bf16-master", 312e12),
        ("NVIDIA A100 80GB PCIe", "float8", None),
        ("NVIDIA L4", "fp16", 121e12),
        ("NVIDIA L40S", "fp16", 362e12),
        ("NVIDIA A10G", "bf16", None),
        ("Tesla T4", "bf16", None),
        ("NVIDIA GeForce RTX 4090", "fp32", 82.6e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "fp32", None),
        ("AMD Instinct MI300X", "bf16", 1307.4e12),
        ("a card of tomorrow", "bf16", None),
    ],
)
def test_the_peak_is_that_of_the_very_card_or_unknown(name: str, precision: str, expected: float | None) -> None:
    assert peak_flops(name, precision) == expected


def test_doctor_lists_every_device(without_accelerators: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # importing torchvision takes seconds
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    module = SimpleNamespace(get_device_name=lambda: "Intel Arc B580")
    monkeypatch.setattr(torch, "get_device_module", lambda kind: module)
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda: (11e9, 12e9))
    told = [item.message for item in doctor() if item.subject == "device"]
    assert told[0] == "xpu (Intel Arc B580), 12.0 GB of memory, 11.0 GB free; auto takes it"
    assert told[1].startswith("cpu (CPU, ")


def test_a_tpu_is_only_looked_for_when_it_is_asked_for() -> None:
    with pytest.raises(ArgumentError, match=r"training\.device: a tpu needs the package torch-tpu"):
        open_device("tpu")


# A backend cannot be taken away from torch again, so this one has a process of its own.
FAKE_TPU = """
import sys, importlib.machinery, types
import torch
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

seeds, calls, attached = [], [], False


class TPU(_DummyBackendModule):
    def manual_seed_all(self, seed):
        seeds.append(seed)

    def get_device_name(self, device=None):
        return "TPU v5e"


class Loader:
    def create_module(self, spec):
        return None

    def exec_module(self, module):
        if attached:
            _setup_privateuseone_for_python_backend("tpu", TPU())


class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, Loader()) if name == "torch_tpu" else None


sys.meta_path.insert(0, Finder())
torch.accelerator.synchronize = lambda: calls.append("synchronize")
torch.accelerator.max_memory_allocated = lambda: 123
from danlu.core.devices import open_device
from danlu.errors import ArgumentError

assert "torch_tpu" not in sys.modules and open_device().torch_device.type == "cpu"
try:
    open_device("tpu")
except ArgumentError as error:
    print(error)
attached = True
del sys.modules["torch_tpu"]
device = open_device("tpu")
device.seed(5)
device.synchronize()
print(device.torch_device, device.name, seeds, calls, device.peak_bytes(), device.free_bytes())
"""


def test_a_tpu_is_reached_through_the_same_interface() -> None:
    done = subprocess.run([sys.executable, "-c", FAKE_TPU], capture_output=True, text=True, check=False)
    refused, found = done.stdout.splitlines()
    assert refused.startswith("training.device: torch-tpu is installed, but torch's accelerator is none")
    assert found == "tpu TPU v5e [5] ['synchronize'] 123 None"


def test_a_device_that_is_open_already_can_be_asked() -> None:
    assert accelerator_of(torch.device("cpu")) == open_device("cpu")
    assert accelerator_of(torch.device("cuda")) == GPU("cuda")
