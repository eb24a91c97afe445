"""A layer is named whatever library it is written for."""

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics import reached_layers
from tests.support.diagnosis_tasks import first_failure
from tests.support.strangers import DIMS, task_of

FACTOR = 3.0


class Pair(nn.Module):
    """As nflows has it: forward and inverse return a value and a log-determinant."""

    def __init__(self, is_wrong: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((DIMS,), 0.3))
        self.factor = FACTOR if is_wrong else 1.0

    def log_det(self, x):
        return (self.factor * self.log_scale.sum()).expand(len(x))

    def forward(self, x, context=None):
        return x * self.log_scale.exp(), self.log_det(x)

    def inverse(self, z, context=None):
        return z * (-self.log_scale).exp(), -self.log_det(z)


class Methods(Pair):
    """The two names of this project in a module that is no bijector; it cannot be called."""

    forward = None
    forward_and_log_det, inverse_and_log_det = Pair.forward, Pair.inverse
    inverse = None


class Tuples(Pair):
    """As FrEIA has it: tuples, and a switch for the direction."""

    def forward(self, x_or_z, c=None, rev=False, jac=True):
        image, log_det = Pair.inverse(self, x_or_z[0]) if rev else Pair.forward(self, x_or_z[0])
        return (image,), log_det

    inverse = None


class TuplesWithoutConditions(Pair):
    """As FrEIA's layers that take no conditions have it."""

    def forward(self, x, rev=False, jac=True):
        image, log_det = Pair.inverse(self, x[0]) if rev else Pair.forward(self, x[0])
        return (image,), log_det

    inverse = None


class Made:
    """A transform of zuko's kind, with its inverse."""

    def __init__(self, call, back=None):
        self.call_and_ladj = call
        self.inv = Made(back) if back else None


class Lazy(Pair):
    """As zuko has it: a call with a context makes a transform."""

    def forward(self, c=None):
        return Made(lambda x: Pair.forward(self, x), lambda z: Pair.inverse(self, z))

    inverse = None


Lazy.__module__ = "zuko.lazy"
CALLS = {  # how the libraries call their layers
    Pair: (lambda layer, x: layer(x), lambda layer, z: layer.inverse(z)),
    Methods: (lambda layer, x: layer.forward_and_log_det(x), lambda layer, z: layer.inverse_and_log_det(z)),
    Tuples: (lambda layer, x: _single(layer((x,))), lambda layer, z: _single(layer((z,), rev=True))),
    TuplesWithoutConditions: (
        lambda layer, x: _single(layer((x,))),
        lambda layer, z: _single(layer((z,), rev=True)),
    ),
    Lazy: (lambda layer, x: layer().call_and_ladj(x), lambda layer, z: layer().inv.call_and_ladj(z)),
}


def _single(returned):
    (value,), log_det = returned
    return value, log_det


class Chain(Bijector):
    """Calls layers of a library one after another; those of a decoder run from latent to data when called forward."""

    def __init__(self, layers, is_decoder=False):
        super().__init__()
        self.layers, self.is_decoder = nn.ModuleList(layers), is_decoder

    def forward_and_log_det(self, x, context=None):
        return self._all(x, self.is_decoder)

    def inverse_and_log_det(self, z, context=None):
        return self._all(z, not self.is_decoder)

    def _all(self, value, is_back):
        total = value.new_zeros(len(value))
        encodes = is_back == self.is_decoder
        for layer in self.layers if encodes else reversed(self.layers):
            value, log_det = CALLS[type(layer)][is_back](layer, value)
            total = total + log_det
        return value, total


@pytest.mark.parametrize(("form", "is_decoder"), [*((form, False) for form in CALLS), (Pair, True), (Tuples, True)])
def test_the_wrong_layer_is_named_in_every_form(form, is_decoder):
    result = first_failure(task_of(Chain([form(False), form(True), form(False)], is_decoder)))
    assert result.check == "log-determinant is that of the Jacobian"
    assert f"layers.1 ({form.__name__})" in result.measured
    assert "3 times too large" in result.cause


@pytest.mark.parametrize("form", CALLS, ids=lambda form: form.__name__)
def test_looking_at_layers_leaves_them_as_they_were(form):
    chain = Chain([form(False)])
    before = [set(vars(module)) for module in chain.modules()]
    (layer,) = reached_layers(chain, torch.rand(3, DIMS))
    assert [set(vars(module)) for module in chain.modules()] == before
    z, log_det = layer.map.forward_and_log_det(layer.x)
    back, other = layer.map.inverse_and_log_det(z)
    assert torch.allclose(back, layer.x, atol=1e-6)
    assert torch.allclose(log_det, -other)
