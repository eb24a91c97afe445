"""The flow and the dequantizer of a configuration, laid out in memory and compiled as it asks."""

from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import DictConfig

from nf_mnist.app.composing import instantiate
from nf_mnist.app.own_builders import build_own_model, is_own_model
from nf_mnist.bijectors import Bijector
from nf_mnist.data import DEQUANTIZERS, Dequantizer, GaussianDequantizer, VariationalDequantizer
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow

# The networks of a flow share one function, of which torch.compile would keep 8 shapes, and run the others plainly.
COMPILED_SHAPES = 64
COMPILE_MODES = ("reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")


def build_flow(model: DictConfig) -> Flow:
    """Build the flow of a ``model`` node."""
    return _arranged(build_own_model(model) if is_own_model(model) else instantiate(model.flow), model)


def build_dequantizer(data: DictConfig, model: DictConfig) -> Dequantizer:
    """Build the dequantizer of a ``data`` node; where the ``model`` has a flow of noise, it is learned.

    Raises:
        ConfigError: If there is no dequantizer of that name, or a flow of noise meets another one than ``uniform``,
            or Gaussian noise meets a preprocessing that ends at 0 and 1.
    """
    if data.dequantizer not in DEQUANTIZERS:
        raise ConfigError(f"unknown data.dequantizer {data.dequantizer!r}; choose one of {', '.join(DEQUANTIZERS)}")
    if data.dequantizer == "gaussian":
        return _gaussian_dequantizer(data, model)
    if model.get("noise") is None:
        return DEQUANTIZERS[data.dequantizer]()
    if data.dequantizer != "uniform":
        raise ConfigError(
            f"model.noise learns what data.dequantizer=uniform draws, got {data.dequantizer}; use model.noise=null"
        )
    return VariationalDequantizer(_arranged(instantiate(model.noise), model))


def _gaussian_dequantizer(data: DictConfig, model: DictConfig) -> GaussianDequantizer:
    if model.get("noise") is not None or model.get("preprocess") not in ("symmetric", "none"):
        raise ConfigError(
            "data.dequantizer=gaussian leaves the unit interval; it needs model.preprocess=symmetric or none, "
            "and model.noise=null"
        )
    return GaussianDequantizer(data.noise_std)


def _arranged(module: Any, model: DictConfig) -> Any:
    """Lay a flow out in memory as its ``model`` node asks; compile the networks of its couplings, or recompute them."""
    _check_compile_mode(model.compile)
    if model.channels_last:
        module = module.to(memory_format=torch.channels_last)
    for bijector in (part for part in module.modules() if isinstance(part, Bijector)):
        networks = [part for part in bijector.children() if not isinstance(part, Bijector | torch.nn.ModuleList)]
        bijector.recompute = bool(networks and model.get("recompute"))
        if model.compile:
            _compile(networks, None if model.compile is True else model.compile)
    return module


def _check_compile_mode(mode: object) -> None:
    if not isinstance(mode, bool) and mode not in COMPILE_MODES:
        raise ConfigError(f"model.compile must be true or false, or one of {', '.join(COMPILE_MODES)}, got {mode!r}")


def _compile(networks: Iterable[torch.nn.Module], mode: str | None) -> None:
    """Compile networks at their first call, in one of torch's modes, in as many shapes as a flow's conditioners have.

    The limit holds for the whole process: torch reads it whenever a call meets a new shape, long after this function.
    """
    import torch._dynamo  # 1 s, for those who compile

    torch._dynamo.config.recompile_limit = COMPILED_SHAPES
    for network in networks:
        network.compile(mode=mode)
