"""A simulated GPU: a device ``simulated`` whose tensors hold their values on the CPU.

Three things matter on a GPU and cannot be seen on a CPU: tensors of two devices in one operation, which fail; random
numbers drawn on the device by a generator of the CPU, which fail too; and waits of the CPU for the device, which leave
the device idle. The first two raise here, the third is recorded with file and line.

It stands on torch's experimental hook for backends written in Python, without which the tests are skipped.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry
from torch import Tensor
from torch.optim import optimizer as torch_optimizer
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import nf_mnist

NAME = "simulated"
SOURCES = Path(nf_mnist.__file__).parent
aten = torch.ops.aten

# Operations whose result, or its shape, the CPU must know before it goes on.
WAITING = {
    aten._local_scalar_dense,
    aten._linalg_check_errors,
    aten._unique,
    aten._unique2,
    aten.bincount,
    aten.equal,
    aten.linalg_eig,
    aten.linalg_eigvals,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
}
COPIES = {aten._to_copy, aten.copy_, aten._copy_from}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}


class MixedDevicesError(AssertionError):
    """An operation took tensors of two devices, or a generator of another device than its result."""


class Wait(NamedTuple):
    """A place where the CPU waits for the device."""

    operation: str
    place: str


class SimulatedTensor(torch.Tensor):
    """A tensor on the simulated device; ``value`` is its value on the CPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> "SimulatedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            value.size(),
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=f"{NAME}:0",
        )
        made.value = value
        return made

    def __init__(self, value: Tensor) -> None:
        pass

    def __repr__(self, **_: Any) -> str:
        return f"SimulatedTensor({tuple(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied = SimulatedTensor(self.value.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def tolist(self) -> Any:
        _record("tolist")
        return self.value.tolist()

    def numpy(self, **_: Any) -> Any:
        raise MixedDevicesError("numpy() of a tensor on the device")

    def new_tensor(self, data: Any, **settings: Any) -> Tensor:
        _record("new_tensor")
        return SimulatedTensor(self.value.new_tensor(data, **{**settings, "device": "cpu"}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class SimulatedGPU(TorchDispatchMode):
    """While it is on, ``device="simulated"`` is a device; ``waits`` are those since the last :meth:`clear`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Wait] = []

    def clear(self) -> None:
        self.waits.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class SimulatedAccelerator(Accelerator):
    """The simulated device for Lightning: ``trainer.accelerator=simulated +trainer.strategy=simulated``."""

    def setup_device(self, device: torch.device) -> None:
        pass

    def teardown(self) -> None:
        pass

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


class _Module:
    """What torch asks a module ``torch.simulated`` for."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_active: list[SimulatedGPU] = []
_is_registered = False


@contextlib.contextmanager
def simulated_gpu() -> Iterator[SimulatedGPU]:
    """Turn the simulated GPU on.

    Raises:
        pytest.skip.Exception: If this version of torch has no hook for backends written in Python.
    """
    _register()
    gpu = SimulatedGPU()
    patch = pytest.MonkeyPatch()
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    for function in ("tensor", "as_tensor"):
        patch.setattr(torch, function, _uploading(getattr(torch, function)))
    patch.setattr(torch_optimizer, "_foreach_supported_types", [torch.Tensor, torch.nn.Parameter, SimulatedTensor])
    _active.append(gpu)
    try:
        with gpu:
            yield gpu
    finally:
        _active.remove(gpu)
        patch.undo()
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _register() -> None:
    global _is_registered
    if _is_registered:
        return
    setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if setup is None:
        pytest.skip(f"torch {torch.__version__} has no hook for devices that are written in Python")
    setup(NAME, backend_module=_Module())
    AcceleratorRegistry.register(NAME, SimulatedAccelerator)
    StrategyRegistry.register(NAME, SingleDeviceStrategy, device=f"{NAME}:0", accelerator=SimulatedAccelerator())
    _is_registered = True


def _uploading(function: Any) -> Any:
    """Return ``torch.tensor`` or ``torch.as_tensor`` with the simulated device; numbers wait on their way up."""

    def made(data: Any, *args: Any, device: Any = None, **settings: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME:
            return function(data, *args, device=device, **settings)
        if isinstance(data, Tensor):
            return data.to(device, settings.get("dtype"))
        _record(function.__name__)
        return SimulatedTensor(function(data, *args, **settings))

    return made


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values of its tensors; check its devices, and record a wait."""
    wrappers: dict[int, SimulatedTensor] = {}
    plain: list[Tensor] = []

    def unwrapped(arg: Any) -> Any:
        if isinstance(arg, SimulatedTensor):
            wrappers[id(arg.value)] = arg
            return arg.value
        if isinstance(arg, Tensor):
            plain.append(arg)
        elif isinstance(arg, torch.device) and arg.type == NAME:
            return torch.device("cpu")
        return arg

    values, settings = tree_map(unwrapped, (args, kwargs))
    device = kwargs.get("device")
    is_device = torch.device(device).type == NAME if device is not None else bool(wrappers)
    if not is_device and not wrappers:
        return func(*args, **kwargs)
    packet = func.overloadpacket
    if packet in COPIES:
        return _copied(packet, func, args, kwargs, values, settings, is_device)
    _check(packet, args, kwargs, plain, bool(wrappers))
    if packet in WAITING or (packet in INDEXING and any(_decides_shape(index) for index in args[1])):
        _record(str(packet))
    out = func(*values, **settings)

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return wrappers[id(value)] if id(value) in wrappers else SimulatedTensor(value)

    return tree_map(wrapped, out)


def _copied(
    packet: Any, func: Any, args: Any, kwargs: dict[str, Any], values: Any, settings: dict[str, Any], to_device: bool
) -> Any:
    source = args[0] if packet is not aten.copy_ else args[1]
    if packet is aten.copy_:
        to_device = isinstance(args[0], SimulatedTensor)
    is_asynchronous = kwargs.get("non_blocking") or (packet is aten.copy_ and len(args) > 2 and args[2])
    if isinstance(source, SimulatedTensor) != to_device and not (is_asynchronous and to_device):
        _record("copy to the device" if to_device else "copy to the CPU")
    out = func(*values, **settings)
    if packet is aten.copy_:
        return args[0]
    return SimulatedTensor(out) if to_device else out


def _check(packet: Any, args: Any, kwargs: dict[str, Any], plain: list[Tensor], on_device: bool) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != NAME:
        raise MixedDevicesError(f"{packet} draws on the device with a generator of the {generator.device.type}")
    if packet in INDEXING and isinstance(args[0], SimulatedTensor):
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        if any(not isinstance(index, SimulatedTensor) for index in indices):
            _record(f"{packet} by an index on the CPU")
        plain = [value for value in plain if not any(value is index for index in indices)]
    if on_device and plain and packet is aten.where:  # a GPU fetches even a single number
        _record("copy of a number to the device")
    if on_device and any(value.dim() for value in plain):
        shapes = [tuple(value.shape) for value in plain]
        raise MixedDevicesError(f"{packet} takes tensors of the device and of the CPU, {shapes}, at {_place()}")


def _decides_shape(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _record(operation: str) -> None:
    for gpu in _active:
        gpu.waits.append(Wait(operation, _place()))


def _place() -> str:
    """Return file and line of the innermost frame in the package, or else in any file but torch's and this one."""
    frame, outside = sys._getframe(1), ""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(SOURCES):
            return f"{path.name}:{frame.f_lineno}"
        if not outside and path != Path(__file__) and "torch" not in path.parts:
            outside = f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return outside or "a backward pass"
