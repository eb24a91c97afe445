"""State that is not saved, or that is kept too long, is named."""

import numpy as np
import pytest
import torch

from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.causes.bits import cause_in_unsaved_state
from nf_mnist.diagnostics.measures.weights import constants_not_saved, random_permutations_not_saved
from tests.support.diagnosis_tasks import first_failure, results
from tests.support.strangers import DIMS, Coupling, Matrix, flow_of, images

MODES = "training mode and back changes nothing"


class Shuffled(Bijector):
    """A permutation that is drawn and not saved."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward_and_log_det(self, x, context=None):
        return x[:, list(self.order)], x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z[:, list(self.order.argsort())], z.new_zeros(len(z))


class Centred(Bijector):
    """Standardises by statistics that are no buffers."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = torch.full((DIMS,), mean), torch.full((DIMS,), std)

    def forward_and_log_det(self, x, context=None):
        return (x - self.mean) / self.std, -self.std.log().sum().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))


@pytest.mark.parametrize(("mean", "std", "found"), [(0.0, 1.0, {"2.mean": 0.0, "2.std": 1.0}), (0.3, 2.0, {})])
def test_statistics_that_are_at_their_beginning_and_not_saved_are_found(mean, std, found):
    flow = flow_of(Centred(mean, std), Coupling())
    assert constants_not_saved(flow) == {f"bijector.bijectors.{name}": number for name, number in found.items()}
    cause = cause_in_unsaved_state(DiagnosisTask(flow, images()))
    assert (cause is not None) == bool(found)
    if found:
        assert "bijectors.2.mean is 0 everywhere, as before training, and not in state_dict()" in cause.text


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_permutations_that_are_no_buffers_are_found_whatever_holds_them(kind):
    order = torch.randperm(DIMS, generator=torch.Generator().manual_seed(1)).tolist()
    layer = Shuffled(kind(order))
    assert random_permutations_not_saved(layer) == [".order"]
    assert random_permutations_not_saved(Shuffled(kind(range(DIMS)))) == []


class CachedMatrix(Matrix):
    """Keeps its matrix in evaluation, until it is put into training mode."""

    kept = None

    def train(self, mode=True):
        self.kept = None if mode else self.kept
        return super().train(mode)

    def forward_and_log_det(self, x, context=None):
        if self.kept is None:
            self.kept = self.weight.detach().clone()
        z = x.reshape(-1, self.places, 4) @ self.kept.T
        return z.flatten(1), (self.places * torch.linalg.slogdet(self.kept).logabsdet).expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        x = z.reshape(-1, self.places, 4) @ torch.linalg.inv(self.kept).T
        return x.flatten(1), -(self.places * torch.linalg.slogdet(self.kept).logabsdet).expand(len(z))


def test_matrices_that_were_cached_before_the_weights_were_loaded_are_named():
    flow = flow_of(Coupling(), CachedMatrix(), Coupling(1))
    flow.log_prob(images().x)
    assert results(DiagnosisTask(flow, images()), [MODES])[MODES].status == "pass"
    flow.bijector.bijectors[3].weight.data = torch.eye(4) + torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    result = first_failure(DiagnosisTask(flow, images()))
    assert (result.check, result.is_shown) == (MODES, True), result
    assert "before the weights were loaded" in result.cause
