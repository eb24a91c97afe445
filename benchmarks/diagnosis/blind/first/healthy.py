"""Healthy flows of parts of nf_mnist and of plain torch, and released weights."""

from functools import partial

import torch
from torch import Tensor, nn

import nf_mnist
from benchmarks.diagnosis.blind.builders import DIMS, dense_flow, fit_with_labels, model
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.first.faulty_own import LearnedNormal
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Ode, PlainFlow, Residual
from benchmarks.diagnosis.blind.training import log_normal, train, train_briefly, train_longer


class Mixture(nn.Module):
    """A mixture of normals with learned means, the same deviation and equal weights."""

    n_components, std = 4, 0.9

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(0.1 * torch.randn(self.n_components, DIMS))

    def log_prob(self, z: Tensor) -> Tensor:
        log_p = [log_normal((z - mean) / self.std) for mean in self.mean]
        constant = DIMS * torch.tensor(self.std).log() + torch.tensor(float(self.n_components)).log()
        return torch.stack(log_p).logsumexp(0) - constant

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        component = torch.randint(self.n_components, (n,), generator=generator)
        return self.mean[component] + self.std * torch.randn(n, DIMS, generator=generator)


def released(name: str) -> Case:
    """Return the case of released weights."""
    return Case(lambda: nf_mnist.load_pretrained(name))


RELEASED = {
    "released_cp3": "cp3",
    "released_resflow": "resflow",
    "released_hierarchical_base": "hierarchical-base",
}
SMALL_CONV = ("model.flow.n_scales=2", "model.flow.hidden_channels=16")
HEALTHY: dict[str, Case] = {
    "own_glow": Case(model("model=glow", *SMALL_CONV, "model.flow.n_steps=2")),
    "own_resflow": Case(model("model=resflow", *SMALL_CONV, "model.flow.mlp_features=0"), partial(train, n_steps=40)),
    "own_spline": Case(model("model=spline", *SMALL_CONV, "model.flow.n_steps=1", "model.flow.n_blocks=1")),
    "own_nice": Case(model("model=nice", "model.flow.hidden_features=64", "model.flow.n_hidden=1"), train),
    "own_maf": Case(model("model=maf", "model.flow.n_layers=2", "model.flow.hidden_features=64"), train_briefly),
    "own_realnvp_batchnorm": Case(
        model("model=realnvp", *SMALL_CONV, "model.flow.n_blocks=1"), partial(train, n_steps=40)
    ),
    "own_dense": Case(dense_flow, train_longer),
    "own_dense_untrained": Case(dense_flow),
    "own_labels": Case(partial(dense_flow, n_classes=10), fit_with_labels, shown_with_labels),
    "own_learned_prior": Case(lambda: dense_flow(base=LearnedNormal()), train_briefly),
    "own_mixture_prior": Case(lambda: dense_flow(base=Mixture()), train_briefly),
    "torch_couplings": Case(lambda: PlainFlow([Affine(), *(Coupling(i % 2) for i in range(4))]), train_longer),
    "torch_ode": Case(lambda: PlainFlow([Affine(), Ode(), Affine()]), train),
    "torch_residual": Case(lambda: PlainFlow([Affine(), Residual(), Residual()]), train),
    **{name: released(weights) for name, weights in RELEASED.items()},
}
