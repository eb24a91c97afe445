"""Builders of small flows that both sets use; without the mistakes of their callers they are healthy."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from benchmarks.diagnosis.blind.cases import training_and_validation
from benchmarks.diagnosis.blind.training import train
from benchmarks.measuring import shipped_configuration
from nf_mnist.app.building import build_module
from nf_mnist.bijectors import ActNorm, AffineCoupling, Bijector, Flatten, Logit, Sequential, Shape, make_mask
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP

SHAPE = (1, 28, 28)
DIMS = 784
N_COUPLINGS = 6
HIDDEN = 48


def dense_flow(
    n_couplings: int = N_COUPLINGS,
    *,
    alpha: float = 1e-5,
    n_classes: int = 0,
    norm: Callable[[Shape], Bijector] = ActNorm,
    masks: Sequence[Tensor] | None = None,
    coupling: Callable[..., Bijector] = AffineCoupling,
    nets: Callable[[int], tuple[nn.Module, nn.Module]] | None = None,
    base: nn.Module | None = None,
) -> Flow:
    """Build couplings of vectors with small perceptrons."""
    kept = make_mask("even_odd", (DIMS,))
    masks = masks or [kept if i % 2 else 1 - kept for i in range(n_couplings)]
    nets = nets or (lambda i: (MLP(DIMS, HIDDEN, 1, n_classes), MLP(DIMS, HIDDEN, 1, n_classes)))
    layers: list[Bijector] = [Logit(alpha), Flatten(SHAPE)]
    for i, mask in enumerate(masks):
        layers += [norm((DIMS,)), coupling(mask, *nets(i), "soft_clamp")]
    flow = Flow(Sequential(layers), SHAPE, n_classes)
    if base is not None:
        flow.add_module("base", base)  # any density of vectors
    return flow


def on_vectors(*layers: Bijector, first: Bijector | None = None) -> Flow:
    """Build a flow of images from layers on vectors."""
    return Flow(Sequential([first or Logit(), Flatten(SHAPE), ActNorm((DIMS,)), *layers]), SHAPE)


def model(*overrides: str) -> Callable[[], nn.Module]:
    """Return a builder of a model of ``conf/model``, made small."""
    return lambda: build_module(shipped_configuration(overrides)).flow


def fit_with_labels(flow: nn.Module, n_steps: int = 300) -> None:
    """Train on images and their labels."""
    training, _ = training_and_validation()
    train(flow, n_steps, levels=training.levels, labels=training.labels)


fit_with_labels_briefly = partial(fit_with_labels, n_steps=120)
