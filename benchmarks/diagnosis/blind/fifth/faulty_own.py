"""Faulty flows of parts of nf_mnist: wrong code around them, a wrong base, weights that were loaded in a wrong way."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE, on_vectors
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.fifth.classes import UnlabelledInverse, classes
from benchmarks.diagnosis.blind.fifth.layers import SIDE, dithered, train_soon
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    AffineMap,
    Bijector,
    Flatten,
    Logit,
    MaskedAutoregression,
    Sequential,
    SplineCoupling,
    SplineMap,
    make_mask,
    random_order,
)
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP, MaskedMLP

KEPT = make_mask("even_odd", (DIMS,))
N_BINS, BOUND, N_BLOCKS = 4, 5.0, 12


class WideLogit(Logit):
    """A logit with Real NVP's margin of 0.05, whose log-determinant leaves the margin out."""

    def _log_det_of_sigmoid(self, y: Tensor) -> Tensor:
        return (-F.softplus(y) - F.softplus(-y)).flatten(1).sum(1)


class SameKnots(SplineMap):
    """Splines that look for the bin among the same knots in both directions."""

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        spline, inside = self._spline(parameters), self._inside(z)
        one_bin = spline.bin_of(inside, spline.x)
        x = one_bin.inverse(inside)
        is_bent = z.abs() < self.bound
        return torch.where(is_bent, x, z), -torch.where(is_bent, one_bin.forward(x)[1], 0.0)


class BlocksFromFiles(Flow):
    """A flow that was saved in a file for each block; the files are read in the order of their sorted names."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the blocks."""
        files = sorted(str(i) for i in range(N_BLOCKS))  # 0, 1, 10, 11, 2, ...
        place = {f"bijector.bijectors.{2 + int(file)}": f"bijector.bijectors.{2 + i}" for i, file in enumerate(files)}
        parts = ((key.split(".", 3), value) for key, value in state_dict.items())
        renamed = {".".join([place[".".join(key[:3])], key[3]]): value for key, value in parts}
        return super().load_state_dict(renamed, strict, assign)


class NormalBase(nn.Module):
    """Independent normals with learned means and deviations."""

    is_normalised = True

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), shape (batch,)."""
        return torch.distributions.Normal(self.mean, self.log_std.exp(), validate_args=False).log_prob(z).sum(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents, shape (n, 784)."""
        return self.mean + self.std() * torch.randn(n, DIMS, generator=generator).to(self.mean)

    def std(self) -> Tensor:
        """Return the deviations of what is drawn."""
        return self.log_std.exp()


class HalfBase(NormalBase):
    """What is learned is taken for the logarithm of a variance when latents are drawn."""

    def std(self) -> Tensor:
        return (0.5 * self.log_std).exp()


class QuickMixing(Bijector):
    """A learned matrix for rows and one for columns, in bfloat16 on the way to the latent: ``autocast`` in a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.eye(SIDE) + 0.1 * torch.randn(SIDE, SIDE))
        self.columns = nn.Parameter(torch.eye(SIDE) + 0.1 * torch.randn(SIDE, SIDE))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, torch.bfloat16):
            z = self.rows @ x.unflatten(1, (SIDE, SIDE)) @ self.columns
        return z.flatten(1).to(x.dtype), self._log_det().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.linalg.solve(self.rows, z.unflatten(1, (SIDE, SIDE)))
        return torch.linalg.solve(self.columns, x, left=False).flatten(1), -self._log_det().expand(len(z))

    def _log_det(self) -> Tensor:
        return SIDE * (torch.linalg.slogdet(self.rows).logabsdet + torch.linalg.slogdet(self.columns).logabsdet)


def wide(logit: type[Logit]) -> Flow:
    """Build couplings after a logit with a wide margin."""
    couplings = [AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1)) for mask in (KEPT, 1 - KEPT)]
    return on_vectors(couplings[0], ActNorm((DIMS,)), couplings[1], first=logit(0.05))


def splines(spline: type[SplineMap]) -> Flow:
    """Build two spline couplings."""
    couplings = []
    for mask in (KEPT, 1 - KEPT):
        last = nn.Linear(32, (3 * N_BINS - 1) * DIMS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        couplings.append(SplineCoupling(mask, nn.Sequential(nn.Linear(DIMS, 32), nn.ReLU(), last), N_BINS, BOUND))
        couplings[-1].spline = spline(N_BINS, BOUND)
    return on_vectors(*couplings)


def blocks(flow: type[Flow]) -> Flow:
    """Build twelve blocks of a normalisation and a coupling."""
    made: list[Bijector] = []
    for i in range(N_BLOCKS):
        nets = MLP(DIMS, 24, 1), MLP(DIMS, 24, 1)
        made.append(Sequential([ActNorm((DIMS,)), AffineCoupling(KEPT if i % 2 else 1 - KEPT, *nets)]))
    return flow(Sequential([Logit(), Flatten(SHAPE), *made]), SHAPE)


def based(base: type[NormalBase]) -> Flow:
    """Build couplings of logits that only the base gives a mean and a deviation."""
    couplings = [AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1)) for mask in (KEPT, 1 - KEPT)]
    flow = Flow(Sequential([Logit(), Flatten(SHAPE), *couplings]), SHAPE)
    flow.add_module("base", base())
    return flow


def fit_based(flow: Any) -> None:
    """Begin with a base that has the moments of training images, and train."""
    with torch.no_grad():
        std, mean = torch.std_mean(flow.encode(dithered(2000)), 0)
        flow.base.mean.copy_(mean)
        flow.base.log_std.copy_(std.log())
    train_soon(flow)


def in_order(position_of: Any) -> Flow:
    """Build an autoregression in a random order, with a network that is told the position of each element."""
    order = random_order(DIMS, 5)
    return on_vectors(MaskedAutoregression(order, MaskedMLP(position_of(order), 64, 2), AffineMap("tanh")))


FAULTY_OWN: dict[str, Case] = {
    "margin_wide": Case(partial(wide, WideLogit), weights="margin_kept"),
    "splines_own": Case(partial(splines, SameKnots), weights="splines_dense"),
    "blocks_read": Case(partial(blocks, BlocksFromFiles), weights="blocks_twelve"),
    "base_drawn": Case(partial(based, HalfBase), weights="base_moments"),
    "order_told": Case(partial(in_order, lambda order: order), train_soon),
    "mixing_quick": Case(lambda: on_vectors(QuickMixing(), ActNorm((DIMS,)), QuickMixing()), train_soon),
    "classes_pair": Case(partial(classes, UnlabelledInverse), shown=shown_with_labels, weights="classes_known"),
}
