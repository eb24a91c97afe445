"""The base distribution: whether its density integrates to one, and whether latents have that of another one."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Cauchy, Laplace, MixtureSameFamily, Normal, StudentT, Uniform

from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.causes.bases import SUM_ERROR, is_logistic, moment_of_the_score, wrong_base
from nf_mnist.diagnostics.measures.prior import excess_by_sums, read_prior
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


class FromItself(Base):
    """A normal whose mean is predicted from the latent itself: no density, since it does not integrate to 1."""

    def log_prob(self, z):
        return self.distribution.log_prob(z - z.roll(1, 1).tanh()).sum(1)


class FromFormer(Base):
    """A normal whose second half has a mean that is predicted from the first half."""

    def log_prob(self, z):
        first, second = z.chunk(2, 1)
        return self.distribution.log_prob(torch.cat([first, second - first.square()], 1)).sum(1)

    def sample(self, n, generator=None):
        first, second = super().sample(n, generator).chunk(2, 1)
        return torch.cat([first, second + first.square()], 1)


class HalfCounted(Base):
    """A normal that does not count the first half of its dimensions."""

    def log_prob(self, z):
        return Normal(0.0, 1.0).log_prob(z[:, DIMS // 2 :]).sum(1)


NORMAL = Normal(ZERO, ONE)


@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "uniform"])
def test_the_moment_of_a_score_is_minus_the_number_of_dimensions(name):
    moment = moment_of_the_score(Base(DISTRIBUTIONS[name]))
    assert moment.mean == pytest.approx(-DIMS, abs=5 * moment.error)
    assert wrong_base(Base(DISTRIBUTIONS[name]), DIMS, read_prior(Base(DISTRIBUTIONS[name]), DIMS, "cpu")) is None


def test_a_base_without_slope_has_no_moment():
    assert moment_of_the_score(Base(DISTRIBUTIONS["uniform"])) is None


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (FromItself(NORMAL), "predicted from z itself"),
        (HalfCounted(NORMAL), "leaves out dimensions"),
        (FromFormer(NORMAL), ""),
    ],
    ids=["from itself", "half counted", "from the former half"],
)
def test_a_base_that_is_no_density_is_named(base, words):
    flow = flow_of(Coupling())
    flow.base = base
    result = results(DiagnosisTask(flow, images()), [LOG_P])[LOG_P]
    assert (result.status, words in result.cause) == ("fail" if words else "pass", True), result
    assert ("8 of 16" in result.measured) == (words == "leaves out dimensions")
