"""Faulty flows of parts of nf_mnist: a linear map, scales, weights that were loaded, a base distribution."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, dense_flow
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fourth.layers import SQUEEZED, Whitening, after_logit, conv_net, dithered, turns
from benchmarks.diagnosis.blind.third.layers import train_quickly
from benchmarks.diagnosis.blind.training import log_likelihood, train
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    FactorOut,
    Flatten,
    Logit,
    Sequential,
    Squeeze,
    make_mask,
)
from nf_mnist.flows import Flow
from nf_mnist.flows.flow import StandardNormal
from nf_mnist.nets import MLP


class VarianceWhitening(Whitening):
    """Eigenvalues are variances, but are counted as if they were deviations."""

    def log_det(self) -> Tensor:
        return -self.values.log().sum()


class SingularWhitening(Whitening):
    """Eigenvalues of a singular covariance get a bound that is far too small."""

    smallest = 1e-10


class LenientFlow(Flow):
    """A flow that takes from a file what it finds there, as with ``strict=False``."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = False, assign: bool = False) -> Any:
        """Load the weights whose names are known."""
        return super().load_state_dict(state_dict, False, assign)


class Wrapped(nn.Module):
    """A network inside of another one, as ``DataParallel`` leaves it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors."""
        return self.module(x)


class MirroredFactorOut(FactorOut):
    """A split of scales whose inverse takes the kept channels from the wrong end of the latent."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        n_factored = torch.Size(self.factored_shape).numel()
        kept, log_det = self.rest.inverse_and_log_det(z[:, :-n_factored], context)
        return torch.cat([kept, z[:, -n_factored:].reshape(len(z), *self.factored_shape)], 1), log_det


class MixtureBase(nn.Module):
    """Independent mixtures of three normals, with learned weights, means and deviations."""

    is_normalised = True

    def __init__(self) -> None:
        super().__init__()
        self.logits, self.log_std = nn.Parameter(torch.zeros(DIMS, 3)), nn.Parameter(torch.zeros(DIMS, 3))
        self.means = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]).repeat(DIMS, 1))

    def log_weights(self) -> Tensor:
        """Return the logarithms of the weights."""
        return self.logits.log_softmax(1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), shape (batch,)."""
        normal = torch.distributions.Normal(self.means, self.log_std.exp(), validate_args=False)
        return (self.log_weights() + normal.log_prob(z[:, :, None])).logsumexp(2).sum(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents, shape (n, 784)."""
        index = torch.multinomial(self.logits.softmax(1), n, replacement=True, generator=generator)
        noise = torch.randn(DIMS, n, generator=generator)
        return (self.means.gather(1, index) + self.log_std.exp().gather(1, index) * noise).T


class FreeMixtureBase(MixtureBase):
    """The same with weights that are not normalised.

    https://github.com/rll/deepul/issues/13 is about the weights of such a mixture.
    """

    def log_weights(self) -> Tensor:
        return self.logits


class ShortNormal(StandardNormal):
    """A standard normal without its constant, as the loss of many tutorials has it."""

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * z.square().sum(1)


def whitened(whitening: type[Whitening] = Whitening) -> Flow:
    """Build couplings of whitened logits."""
    couplings = [AffineCoupling(mask, MLP(DIMS, 48, 1), MLP(DIMS, 48, 1), "soft_clamp") for mask in turns(4)]
    return after_logit(whitening(), *couplings, alpha=1e-3)


def fit_whitened(flow: nn.Module, n: int = 8000) -> None:
    """Take the covariance of so many training images, then train."""
    logit, flatten, whitening, *_ = cast(Any, flow).bijector.layers()
    whitening.take_statistics(flatten(logit(dithered(n))[0])[0])
    train_quickly(flow)


def renamed() -> Flow:
    """Build the couplings of ``dense_turns`` with networks of other names."""
    plain = dense_flow(masks=turns(4), nets=lambda i: (Wrapped(MLP(DIMS, 48, 1)), Wrapped(MLP(DIMS, 48, 1))))
    return LenientFlow(plain.bijector, SHAPE)


def scales(factor_out: type[FactorOut] = FactorOut) -> Flow:
    """Build convolutional couplings at two scales."""
    half, kept = (2, 14, 14), make_mask("channel", SQUEEZED)
    rest = [ActNorm(half), AffineCoupling(make_mask("checkerboard", half), conv_net(2, 4)), Flatten(half)]
    first = [AffineCoupling(mask, conv_net(4, 8)) for mask in (kept, 1 - kept)]
    layers = [Logit(), Squeeze(SHAPE), ActNorm(SQUEEZED), *first, factor_out(SQUEEZED, 2, Sequential(rest))]
    return Flow(Sequential(layers), SHAPE)


def fit_average_of_parameters(flow: nn.Module) -> None:
    """Train, and take the average of the parameters, of a copy whose buffers are those of the beginning."""
    average = copy.deepcopy(flow)

    def objective(trained: Any, x: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            for mean, now in zip(average.parameters(), trained.parameters(), strict=True):
                mean.lerp_(now, 0.1)
        return log_likelihood(trained, x, labels)

    train(flow, 160, 2e-3, objective=objective)
    flow.load_state_dict(average.state_dict())


FAULTY_OWN: dict[str, Case] = {
    "dense_white": Case(partial(whitened, VarianceWhitening), weights="dense_components"),
    "dense_wrapped": Case(renamed, weights="dense_turns"),
    "scales_pair": Case(partial(scales, MirroredFactorOut), weights="scales_convolved"),
    "base_three": Case(lambda: dense_flow(4, base=FreeMixtureBase()), train_quickly),
    "base_short": Case(lambda: dense_flow(masks=turns(4), base=ShortNormal(DIMS)), weights="dense_turns"),
    "dense_running": Case(lambda: dense_flow(4, norm=BatchNorm), fit_average_of_parameters),
    "dense_singular": Case(partial(whitened, SingularWhitening), partial(fit_whitened, n=600)),
}
