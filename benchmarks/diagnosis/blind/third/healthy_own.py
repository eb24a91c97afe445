"""Healthy flows of parts of nf_mnist: unusual bases, unusual images, all kinds of models."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE, dense_flow, fit_with_labels, model
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.third.faulty_own import SMALL_GLOW, GaussianBase, fit_after_moments, without_norms
from benchmarks.diagnosis.blind.third.faulty_training import fit_average, fit_inverted, inverted
from benchmarks.diagnosis.blind.third.layers import train_quickly
from benchmarks.diagnosis.blind.training import train, train_longer
from nf_mnist.bijectors import ActNorm, AffineCoupling, Bijector, Flatten, LogisticToNormal, Sequential, make_mask
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP


class StudentBase(nn.Module):
    """Independent Student distributions with a learned number of degrees of freedom."""

    def __init__(self) -> None:
        super().__init__()
        self.log_excess = nn.Parameter(torch.tensor(2.0))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), shape (batch,)."""
        return torch.distributions.StudentT(2 + self.log_excess.exp(), validate_args=False).log_prob(z).sum(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents, shape (n, 784): quotients of a normal and the root of a mean of squared normals."""
        dof = 2 + self.log_excess.exp()
        with torch.random.fork_rng():
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            chi2 = 2 * torch._standard_gamma((dof / 2).expand(n, DIMS))
            return torch.randn(n, DIMS) * (dof / chi2).sqrt()


def pixel_flow(first: Bijector | None = None, last: Bijector | None = None) -> Flow:
    """Build couplings of pixels, without a logit."""
    kept = make_mask("even_odd", (DIMS,))
    layers: list[Bijector] = [first or Sequential([]), Flatten(SHAPE)]
    for mask in (kept, 1 - kept, kept, 1 - kept):
        layers += [ActNorm((DIMS,), 0.01), AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1), "tanh")]
    return Flow(Sequential([*layers, last or Sequential([])]), SHAPE)


def bilevel(levels: Tensor) -> Tensor:
    """Return images of black and white only."""
    return 255 * (levels > 127).to(torch.uint8)


def fit_changed(flow: nn.Module, change: Callable[[Tensor], Tensor], n_steps: int = 160) -> None:
    """Train on changed images."""
    train(flow, n_steps, 2e-3, levels=change(training_and_validation()[0].levels))


def shown_changed(change: Callable[[Tensor], Tensor]) -> Shown:
    """Return the same change of all images."""
    shown = shown_plainly()
    return Shown(change(shown.levels), change(shown.train))


def fit_counts(flow: Any) -> None:
    """Count the levels of each pixel, then train."""
    flow.bijector.fit(training_and_validation()[0].levels)
    train(flow, 40)


JET = ("model=jet", "model.flow.patch_size=7", "model.flow.n_couplings=3", "model.flow.transformer_features=16")
TARFLOW = ("model=tarflow", "model.flow.patch_size=7", "model.flow.n_autoregressions=2")
SMALL_TRANSFORMER = ("model.flow.transformer_features=32", "model.flow.transformer_blocks=1")
RESIDUAL = ("model=residual_flow", "model.flow.n_scales=2", "model.flow.n_blocks=1", "model.flow.hidden_channels=8")
MAF = ("model=maf", "model.flow.n_layers=1", "model.flow.hidden_features=48", "model.flow.transform=spline")
HEALTHY_OWN: dict[str, Case] = {
    "dense_even": Case(dense_flow, train_longer),
    "dense_means": Case(dense_flow, partial(fit_average, decay=0.95)),
    "dense_logistic": Case(lambda: pixel_flow(last=LogisticToNormal()), train_quickly),
    "dense_margins": Case(lambda: dense_flow(alpha=0.05), train_quickly),
    "dense_page": Case(dense_flow, fit_inverted, partial(shown_changed, inverted)),
    "dense_bilevel": Case(dense_flow, partial(fit_changed, change=bilevel), partial(shown_changed, bilevel)),
    "dense_labels": Case(partial(dense_flow, n_classes=10), fit_with_labels, shown_with_labels),
    "base_student": Case(lambda: dense_flow(base=StudentBase()), train_quickly),
    "base_moments": Case(lambda: without_norms(GaussianBase()), fit_after_moments),
    "model_jet": Case(model(*JET, "model.flow.transformer_blocks=1"), partial(train, n_steps=100)),
    "model_tarflow": Case(model(*TARFLOW, *SMALL_TRANSFORMER), partial(train, n_steps=80)),
    "model_residual": Case(model(*RESIDUAL, "model.flow.n_dense_blocks=1"), partial(train, n_steps=20)),
    "model_maf": Case(model(*MAF), partial(train, n_steps=60)),
    "model_quantiles": Case(model(*SMALL_GLOW, "model.preprocess=gaussianize"), fit_counts),
}
