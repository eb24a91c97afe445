"""The base distribution: whether its density integrates to one, and whether latents have that of another one."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Cauchy, Laplace, MixtureSameFamily, Normal, StudentT, Uniform

from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.bases import is_logistic
from nf_mnist.diagnostics.map_checks import SUM_ERROR
from nf_mnist.diagnostics.prior import excess_by_sums
from tests.support.diagnosis_tasks import results
from tests.support.strangers import DIMS, Coupling, flow_of, images

LOG_P = "log p is that of z and the log-determinant"


class Base(nn.Module):
    """A base of independent dimensions; ``factor`` multiplies the density of each."""

    def __init__(self, distribution, factor=1.0):
        super().__init__()
        self.distribution, self.factor = distribution, factor

    def log_prob(self, z):
        return self.distribution.log_prob(z).sum(1) + DIMS * math.log(self.factor)

    def sample(self, n, generator=None):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.distribution.sample((n,))


def mixture():
    """Return three narrow modes in each dimension."""
    modes = Normal(torch.tensor([-2.0, 0.1, 2.5]).double().expand(DIMS, 3), torch.full((DIMS, 3), 0.3).double())
    return MixtureSameFamily(Categorical(torch.ones(DIMS, 3)), modes)


ZERO, ONE = torch.zeros(DIMS).double(), torch.ones(DIMS).double()
DISTRIBUTIONS = {
    "normal": Normal(ZERO, 2 * ONE),
    "Laplace": Laplace(ZERO, ONE),
    "Student": StudentT(3 * ONE),
    "Cauchy": Cauchy(ZERO, ONE),
    "uniform": Uniform(-ONE, ONE, validate_args=False),
    "mixture": mixture(),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("factor", [1.0, 3.0, 1 / 3])
def test_sums_along_axes_find_the_integral_of_a_base(name, factor):
    excess = excess_by_sums(Base(DISTRIBUTIONS[name], factor)) / DIMS
    assert excess == pytest.approx(math.log(factor), abs=SUM_ERROR)


def test_a_base_whose_dimensions_depend_on_each_other_is_not_judged():
    class Shell(Base):
        def log_prob(self, z):
            return -(z.norm(dim=1) - 4).square()

    assert excess_by_sums(Shell(DISTRIBUTIONS["normal"])) is None


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (3.0, "fail")])
def test_weights_of_a_mixture_that_do_not_add_up_to_one_are_found(factor, status):
    flow = flow_of(Coupling())
    flow.base = Base(mixture(), factor)
    result = results(DiagnosisTask(flow, images()), [LOG_P])[LOG_P]
    assert (result.status, "do not add up to 1" in result.cause) == (status, status == "fail")


LOGISTIC = torch.rand(100, 784).clamp(1e-6, 1 - 1e-6).logit()
LATENTS = {
    "normal": torch.randn(100, 784),
    "wide normal": 1.8 * torch.randn(100, 784),
    "wide logistic": 3 * LOGISTIC,
    "Laplace": Laplace(0.0, 1.0).sample((100, 784)),
    "not finite": torch.full((100, 784), torch.nan),
}


def test_logistic_latents_are_told_from_others():
    assert is_logistic(LOGISTIC)
    assert [name for name, latents in LATENTS.items() if is_logistic(latents)] == []
