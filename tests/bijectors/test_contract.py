"""Checks of any bijector name planted faults; that healthy bijectors pass them is in test_laws.py."""

import pytest
import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics import exact_log_det, stretch, violations
from nf_mnist.diagnostics.measures.contract import mixed_batch
from nf_mnist.flows import normalization, preprocessing, resflow
from tests.support.registry import GREY, events, unsettle


class Scale(Bijector):
    """z = 2x on events of four numbers; each subclass breaks one part of the contract."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.full((4,), 2.0, dtype=torch.float64))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.factor, self.factor.log().sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z / self.factor, -self.factor.log().sum().expand(len(z))


class Transposed(Scale):
    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z[:, :3], log_det


class PerElement(Scale):
    def forward_and_log_det(self, x, context=None):
        return x * self.factor, self.factor.log().expand(len(x), -1)


class Accumulating(Scale):
    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z, torch.zeros(len(x), dtype=torch.float32) + log_det.float()


class InPlace(Scale):
    def forward_and_log_det(self, x, context=None):
        _, log_det = super().forward_and_log_det(x)
        return x.mul_(self.factor), log_det


class Counting(Scale):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward_and_log_det(self, x, context=None):
        self.calls += 1
        return super().forward_and_log_det(x)


class Resampling(Scale):
    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z)
        return torch.cat([x[:, :2], torch.randn_like(x[:, 2:])], 1), log_det


class BatchMean(Scale):
    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z - x.mean(0), log_det


class SameSign(Scale):
    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z)
        return x, -log_det


class Diverged(Scale):
    def __init__(self):
        super().__init__()
        self.factor[1] = torch.nan


class OutsideItsDomain(Scale):
    """z = log(x - 1/2), which is not defined for most images."""

    def forward_and_log_det(self, x, context=None):
        z = (x - 0.5).log()
        return z, -z.sum(1)

    def inverse_and_log_det(self, z, context=None):
        return z.exp() + 0.5, z.sum(1)


class InverseOverflows(Scale):
    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z)
        return x + (1e3 * z.abs().sum()).exp(), log_det


class Failing(Scale):
    def forward_and_log_det(self, x, context=None):
        raise RuntimeError("no kernel image")


FAULTS = {
    Transposed: ("shapes", "another number of dimensions"),
    PerElement: ("shapes", "sum it over the event"),
    Accumulating: ("dtypes", r"log-determinants are torch.float32"),
    InPlace: ("inputs are left alone", "forward writes to its input"),
    Counting: ("state is left alone", "changes calls"),
    Resampling: ("same input, same output", "drawn anew"),
    BatchMean: ("events do not mix", "batch statistics"),
    SameSign: ("log-determinants of both directions", "add up to"),
    Diverged: ("values are finite", "0.25 of the latents and 1 of the log-determinants are not finite"),
    OutsideItsDomain: ("values are finite", "log-determinants are not finite"),
    InverseOverflows: ("values are finite", "1 of the values that the inverse returns are not finite"),
    Failing: ("shapes", "raises RuntimeError: no kernel image"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_planted_fault_is_named(fault):
    check, said = FAULTS[fault]
    found = dict(violations(fault(), torch.rand(3, 4, dtype=torch.float64)))
    assert said in found[check]


class RoundedOtherwise(Scale):
    """Stretches by 1e12; in a batch, sums are rounded otherwise by the last digit."""

    def forward_and_log_det(self, x, context=None):
        rounded = x * (1 + torch.finfo(x.dtype).eps * (len(x) > 1))
        return 1e12 * (rounded - 0.5), x.new_zeros(len(x))


def test_rounding_that_a_map_magnifies_is_no_mixing_of_events():
    x = 0.5 + 1e-12 * torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone, in_a_batch = (RoundedOtherwise().forward_and_log_det(part)[0][0] for part in (x[:1], x))
    assert (alone - in_a_batch).abs().max() > 1e-5
    assert mixed_batch(RoundedOtherwise(), x) is None
    assert mixed_batch(BatchMean(), x) is not None


@pytest.mark.parametrize("fault", [Diverged, OutsideItsDomain])
def test_nan_is_blamed_on_nothing_else(fault):
    found = dict(violations(fault(), torch.rand(3, 4, dtype=torch.float64)))
    named = [name for name, wrong in found.items() if wrong is not None]
    assert named == ["values are finite"]


def test_batch_statistics_in_training_mode_are_found():
    flow = resflow(
        event_shape=GREY,
        preprocess=preprocessing("logit", 1e-5, True),
        norm=normalization("batchnorm", 0.1, "batch", 1e-5),
        n_scales=1,
        hidden_channels=4,
        mlp_features=0,
        mask="checkerboard",
        scale_activation="tanh",
    )
    found = dict(violations(unsettle(flow).double().train().bijector, events(GREY)))
    assert "batch statistics" in found["events do not mix"]


def test_an_averaged_log_determinant_is_not_that_of_the_jacobian():
    class Averaged(Scale):
        def forward_and_log_det(self, x, context=None):
            z, log_det = super().forward_and_log_det(x)
            return z, log_det / 4

    claimed, exact, _ = exact_log_det(Averaged(), torch.rand(1, 4, dtype=torch.float64))
    assert exact / claimed == pytest.approx(4)


def test_the_largest_stretch_of_a_linear_map_is_its_singular_value():
    class Linear(Bijector):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 6, dtype=torch.float64))

        def forward_and_log_det(self, x, context=None):
            return x @ self.weight.T, torch.linalg.slogdet(self.weight).logabsdet.expand(len(x))

        def inverse_and_log_det(self, z, context=None):
            return torch.linalg.solve(self.weight, z.T).T, -torch.linalg.slogdet(self.weight).logabsdet.expand(len(z))

    linear = Linear()
    values = torch.linalg.svdvals(linear.weight.detach())
    found = stretch(linear, torch.rand(1, 6, dtype=torch.float64), n_iterations=500)
    assert found.forward == pytest.approx(values[0].item(), rel=1e-3)
    assert found.inverse == pytest.approx(1 / values[-1].item(), rel=1e-3)
