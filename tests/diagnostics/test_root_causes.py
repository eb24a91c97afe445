"""The cause that an experiment shows is named before what follows from it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import Batch, DiagnosisTask, undithered_gain
from nf_mnist.diagnostics.bits_causes import cause_in_unsaved_state, cause_of_many_bits
from nf_mnist.diagnostics.inverse_causes import is_permuted
from nf_mnist.diagnostics.label_experiments import cause_in_labels
from nf_mnist.diagnostics.rounding import log_dets_round_to, rounds_to
from nf_mnist.diagnostics.weights import constants_not_saved, random_permutations_not_saved
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import (
    DIMS,
    BiasedResidual,
    Coupling,
    EstimatedResidual,
    flow_of,
    images,
    network,
    task_of,
)

INVERSE, COLLAPSED = "inverse undoes forward", "latents have not collapsed"


class Rounded(Bijector):
    """Rounds what passes through."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward_and_log_det(self, x, context=None):
        return self.how(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


ROUNDINGS = {
    "float16": lambda x: x.half().to(x),
    "bfloat16": lambda x: x.bfloat16().to(x),
    "float32": lambda x: x.float().to(x),
    "do not change": lambda x: (64 * x).round() / 65,
}


@pytest.mark.parametrize("words", ROUNDINGS)
def test_values_that_are_rounded_are_named_with_their_precision(words):
    x = torch.randn(4, DIMS, dtype=torch.float64)
    assert words in rounds_to(Rounded(ROUNDINGS[words]), x)
    result = results(task_of(Coupling(), Rounded(ROUNDINGS[words]), Coupling(1)), [INVERSE])[INVERSE]
    if words == "float32":
        assert result.status == "pass", "which does no harm"
        return
    assert (result.is_shown, "rounded" in result.cause, "Rounded" in result.measured) == (True, True, True)


@pytest.mark.parametrize("healthy", [Coupling(), Rounded(lambda x: x)], ids=["coupling", "same"])
def test_what_answers_to_its_last_digits_does_not_round(healthy):
    assert rounds_to(healthy.double(), torch.randn(4, DIMS, dtype=torch.float64)) == ""


class Labelled(Bijector):
    """A shift by the label; the inverse may take it for another one."""

    def __init__(self, taken):
        super().__init__()
        self.taken, self.net = taken, network()

    def forward_and_log_det(self, x, context=None):
        return x.flatten(1) + context[:, None] + 1, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return (z - self.taken(context)[:, None] - 1).reshape(-1, 1, 4, 4), z.new_zeros(len(z))


TAKEN = {
    "takes label 0": lambda labels: 0 * labels,
    "shifted by 1": lambda labels: (labels + 3) % 4,
    "another order": lambda labels: torch.tensor([1, 0, 3, 2])[labels],
}


@pytest.mark.parametrize("words", TAKEN)
def test_labels_that_the_inverse_uses_otherwise_are_named(words):
    x = images().x[:1].double()
    assert words in cause_in_labels(Flow(Labelled(TAKEN[words]), (1, 4, 4), 4), x)
    assert cause_in_labels(Flow(Labelled(lambda labels: labels), (1, 4, 4), 4), x) == ""


class Narrowed(Coupling):
    """Shrinks its values a thousand times."""

    factor = 1e-3

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z * self.factor, log_det + DIMS * torch.tensor(self.factor).log()

    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z / self.factor)
        return x, log_det - DIMS * torch.tensor(self.factor).log()


def test_latents_that_training_has_shrunk_are_told_from_those_not_stretched_yet():
    collapsed = results(task_of(Coupling(1), Narrowed()), [COLLAPSED])[COLLAPSED]
    assert (collapsed.status, "log-determinant" in collapsed.cause) == ("fail", True)
    narrow = Flow(Coupling(0, 0.01), (DIMS,)).eval()
    batch = images()._replace(x=1e-2 * images().x.flatten(1))
    result = results(DiagnosisTask(narrow, batch), [COLLAPSED])[COLLAPSED]
    assert (result.status, result.size) == ("pass", 0.0)


class Scaled(Bijector):
    """Standardises the logits of black pixels."""

    def forward_and_log_det(self, x, context=None):
        return (x + 6.5) / 3, x.new_full((len(x),), -DIMS * math.log(3))

    def inverse_and_log_det(self, z, context=None):
        return 3 * z - 6.5, z.new_full((len(z),), DIMS * math.log(3))


def test_a_logit_at_exactly_zero_is_no_spike():
    """Black pixels are denser at 0 than dithered by the slope of the logit alone, and their latents are less likely."""
    flow = Flow(Sequential([Logit(1e-5), Flatten((1, 4, 4)), Scaled()]), (1, 4, 4)).eval()
    levels = torch.zeros(50, 1, 4, 4, dtype=torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=torch.Generator().manual_seed(0))) / 256
    assert (flow.log_prob(0 * x) - flow.log_prob(x)).mean() / DIMS > 3
    assert undithered_gain(flow, levels, x) < 1


MIXED, OWN = "dimensions of z depend on each other's pixels", "couplings have networks of their own"


@pytest.mark.parametrize(("seeds", "status"), [((0, 0, 0), "warn"), ((0, 1), "pass")], ids=["one mask", "two masks"])
def test_dimensions_that_no_coupling_transforms_are_counted(seeds, status):
    result = results(task_of(*(Coupling(seed) for seed in seeds)), [MIXED])[MIXED]
    assert result.status == status
    assert ("8 of 16" in result.measured) == (status == "warn")


def test_a_network_that_two_couplings_share_is_named_and_one_that_a_coupling_calls_twice_is_not():
    first, second = Coupling(0), Coupling(1)
    assert results(task_of(first, second), [OWN])[OWN].status == "pass"
    second.net = first.net
    result = results(task_of(first, second), [OWN])[OWN]
    assert (result.status, "bijectors.2.net" in result.measured) == ("warn", True)


class PermutedBack(Bijector):
    """Reverses the elements of data, and leaves latents as they are."""

    def forward_and_log_det(self, x, context=None):
        return x.flip(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


def test_values_that_come_back_at_other_places_are_a_permutation():
    result = results(task_of(Coupling(), PermutedBack(), Coupling(1)), [INVERSE])[INVERSE]
    assert (result.is_shown, "at other places" in result.cause, "PermutedBack" in result.measured) == (True, True, True)


def test_values_that_are_a_little_off_at_their_own_places_are_no_permutation():
    x = torch.randn(4, DIMS, dtype=torch.float64)
    assert is_permuted(PermutedBack(), x)
    assert not is_permuted(Rounded(lambda x: x + 1e-7), x)


class Summed(Bijector):
    """A flow whose sum of log-determinants is in bfloat16."""

    def __init__(self, *layers):
        super().__init__()
        self.whole = Sequential(layers)

    def forward_and_log_det(self, x, context=None):
        z, log_det = self.whole.forward_and_log_det(x)
        return z, log_det.bfloat16().to(x)

    def inverse_and_log_det(self, z, context=None):
        return self.whole.inverse_and_log_det(z)


def test_log_determinants_that_are_added_up_in_bfloat16_are_named():
    name = "log-determinants of both directions"
    whole = Summed(Logit(0.05), Flatten((1, 4, 4)), Coupling(), Coupling(1))
    task = DiagnosisTask(Flow(whole, (1, 4, 4)).eval(), images())
    result = results(task, [name])[name]
    assert (result.status, "added up in bfloat16" in result.cause) == ("fail", True)


class Claims(Coupling):
    """Multiplies the log-determinants of its directions."""

    def __init__(self, forward=1.0, inverse=1.0):
        super().__init__()
        self.forward_factor, self.inverse_factor = forward, inverse

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z, self.forward_factor * log_det

    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z)
        return x, self.inverse_factor * log_det


CLAIMS = {
    "that of the inverse is the exact one": Claims(forward=0.5),
    "that of forward is the exact one": Claims(inverse=0.5),
    "its sign is wrong": Claims(inverse=-1.0),
    "of both directions are wrong": Claims(0.5, 0.3),
}


@pytest.mark.parametrize("words", CLAIMS)
def test_the_direction_whose_log_determinant_is_wrong_is_named(words):
    name = "log-determinants of both directions"
    result = results(task_of(Coupling(1), CLAIMS[words]), [name])[name]
    assert (result.status, words in result.cause, result.is_shown) == ("fail", True, True)


def test_no_direction_is_blamed_for_a_difference_too_small_to_tell():
    class Off(Coupling):
        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z)
            return x, log_det + 3e-7 * DIMS

    name = "log-determinants of both directions"
    result = results(task_of(Coupling(1), Off()), [name])[name]
    assert (result.status, result.is_shown, "of both directions are wrong" in result.cause) == ("warn", False, False)


@pytest.mark.parametrize("healthy", [Coupling(), Rounded(lambda x: x)], ids=["coupling", "volume preserving"])
def test_log_determinants_in_full_precision_are_not_called_rounded(healthy):
    assert log_dets_round_to(healthy.double(), torch.randn(4, DIMS, dtype=torch.float64)) == ""


class RefusesOne(Coupling):
    """Cannot take one event alone, as batch statistics in training mode."""

    def forward_and_log_det(self, x, context=None):
        if len(x) < 2:
            raise ValueError("expected more than 1 value per channel when training")
        return super().forward_and_log_det(x)


def test_a_layer_that_cannot_take_an_event_alone_depends_on_the_batch():
    name = "events do not mix"
    result = results(task_of(Coupling(1), RefusesOne()), [name])[name]
    assert result.status == "fail"
    assert "one event alone" in result.measured
    assert "BatchNorm" in result.cause


def test_a_flow_of_spikes_on_bare_levels_was_trained_without_dither():
    class Spikes(Bijector):
        """Stretches the place within a level, as a density that sits on levels does."""

        def forward_and_log_det(self, x, context=None):
            within = 256 * x - (256 * x + 1e-3).floor()
            return (x + 1e8 * within).flatten(1), x.new_full((len(x),), DIMS * math.log(256e8))

        def inverse_and_log_det(self, z, context=None):
            return z.reshape(-1, 1, 4, 4) / 256e8, z.new_full((len(z),), -DIMS * math.log(256e8))

    name = "values have an ordinary size"
    result = results(DiagnosisTask(Flow(Spikes(), (1, 4, 4)).eval(), images()), [name])[name]
    assert (result.status, "without noise" in result.cause) == ("fail", True)


@pytest.mark.parametrize("is_said", [True, False])
def test_a_flow_that_does_nothing_behind_its_logit_is_said_to(is_said):
    name = "bits per dimension are possible"
    batch = images()
    batch = batch._replace(levels=torch.zeros_like(batch.levels), x=torch.rand_like(batch.x) / 256)  # all black
    nothing = Coupling(deviation=0.01)
    flow = flow_of(nothing) if is_said else flow_of(nothing, Shift())
    flow.bijector.bijectors[0] = Logit(0.0)
    result = results(DiagnosisTask(flow, batch), [name])[name]
    assert (result.status, "a logit and a standard normal alone" in result.cause) == ("fail", is_said)


class Shift(Bijector):
    """Moves latents away from 0."""

    def forward_and_log_det(self, x, context=None):
        return x - 5, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z + 5, z.new_zeros(len(z))


def test_an_integral_too_coarse_for_a_map_that_a_biased_estimate_trained_is_the_estimates_fault():
    class Coarse(BiasedResidual):
        bias = 100.0

    result = results(task_of(Coarse(n_iterations=2)), [INVERSE])[INVERSE]
    assert (result.status, "estimate of the log-determinant has a bias" in result.cause) == ("fail", True)
    sound = results(task_of(EstimatedResidual(n_iterations=2)), [INVERSE])[INVERSE]
    assert "bias" not in sound.cause


class Planar(Bijector):
    """z = x + u tanh(w x + b) in one direction of space, which folds if w u < -1; the inverse takes one branch."""

    def __init__(self, strength):
        super().__init__()
        self.strength, self.n_steps = strength, 200

    def forward_and_log_det(self, x, context=None):
        first = x[:, :1]
        slope = 1 + self.strength * (1 - first.tanh().square())
        return torch.cat([first + self.strength * first.tanh(), x[:, 1:]], 1), slope.abs().log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        """Search from above, where the map rises whatever its strength."""
        low, high = -9 * torch.ones_like(z[:, :1]), 9 * torch.ones_like(z[:, :1])
        low = low if self.strength > -1 else torch.zeros_like(low) + math.atanh((1 + 1 / self.strength) ** 0.5)
        for _ in range(self.n_steps):
            middle = (low + high) / 2
            is_above = middle + self.strength * middle.tanh() > z[:, :1]
            low, high = low.where(is_above, middle), middle.where(is_above, high)
        x = torch.cat([(low + high) / 2, z[:, 1:]], 1)
        return x, -self.forward_and_log_det(x)[1]


def test_a_map_that_folds_is_not_one_to_one():
    result = results(task_of(Coupling(), Planar(-3.0), Coupling(1)), [INVERSE])[INVERSE]
    assert (result.is_shown, "not one to one" in result.cause, "Planar" in result.measured) == (True, True, True), (
        result
    )
    healthy = results(task_of(Coupling(), Planar(-0.9), Coupling(1)), [INVERSE])[INVERSE]
    assert healthy.status == "pass", healthy


def test_a_fold_that_few_images_reach_is_found_where_they_do_not_come_back():
    """The first images, which are examined in float64, lie on the branch that the inverse takes."""
    batch = images()
    levels = batch.levels.clone()
    levels[:4, :, 0, 0] = 250
    batch = batch._replace(x=(levels + 0.5) / 256, levels=levels)
    task = DiagnosisTask(flow_of(Planar(-3.0), Coupling()), batch)
    name = "images come back in float32"
    found = results(task, [INVERSE, name])
    assert (found[INVERSE].status, found[name].status) == ("pass", "fail"), found
    assert "not one to one" in found[name].cause
    assert "Planar" in found[name].measured


@pytest.mark.parametrize(("n_steps", "status"), [(20, "pass"), (8, "fail")])
def test_a_bisection_that_ends_at_a_small_error_is_no_fault(n_steps, status):
    """After 20 halvings of 18 the error is 2e-5, which is 0.001 grey levels behind this logit; after 8 it is 0.07."""
    layer = Planar(-0.9)
    layer.n_steps = n_steps
    result = results(task_of(Coupling(), layer), [INVERSE])[INVERSE]
    assert result.status == status, result


class WrongElements(Bijector):
    """Transforms its odd elements given the even ones, puts both side by side, and takes them apart otherwise."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIMS // 2, 16), nn.Tanh(), nn.Linear(16, DIMS))

    def _parameters_given(self, half):
        log_scale, shift = self.net(half).chunk(2, 1)
        return log_scale.tanh(), shift

    def forward_and_log_det(self, x, context=None):
        log_scale, shift = self._parameters_given(x[:, ::2])
        return torch.cat([x[:, ::2], x[:, 1::2] * log_scale.exp() + shift], 1), log_scale.sum(1)

    def inverse_and_log_det(self, z, context=None):
        log_scale, shift = self._parameters_given(z[:, ::2])
        return torch.cat([z[:, ::2], (z[:, 1::2] - shift) * (-log_scale).exp()], 1), -log_scale.sum(1)


def test_a_mask_is_not_blamed_for_the_inverse_of_another_map():
    """Its log-determinant is right, which it would not be if an element saw itself."""
    result = results(task_of(Coupling(), WrongElements()), [INVERSE])[INVERSE]
    assert (result.status, "mask" in result.cause, "WrongElements" in result.measured) == ("fail", False, True), result


class Expanding(Bijector):
    """x + 3 times a matrix of tanh(x), undone by a fixed-point iteration that cannot converge."""

    def __init__(self, factor):
        super().__init__()
        self.net = nn.Linear(DIMS, DIMS, bias=False)
        nn.init.orthogonal_(self.net.weight, generator=torch.Generator().manual_seed(0))
        self.factor = factor

    def forward_and_log_det(self, x, context=None):
        z = x + self.factor * self.net(x).tanh()
        jacobian = torch.func.vmap(torch.func.jacrev(lambda one: one + self.factor * self.net(one).tanh()))(x)
        return z, torch.linalg.slogdet(jacobian).logabsdet

    def inverse_and_log_det(self, z, context=None):
        x = z
        for _ in range(60):
            x = z - self.factor * self.net(x).tanh()
        return x, -self.forward_and_log_det(x)[1]


def test_a_residual_block_that_is_no_contraction_is_named_with_its_steepness():
    result = results(task_of(Expanding(3.0)), [INVERSE])[INVERSE]
    assert (result.is_shown, "no contraction" in result.cause, "Expanding" in result.measured) == (True, True, True), (
        result
    )
    assert results(task_of(Expanding(0.5)), [INVERSE])[INVERSE].status == "pass"


class OpenMask(Bijector):
    """An autoregression whose mask lets each element see itself; the inverse goes from the first to the last."""

    def __init__(self, diagonal):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Linear(DIMS, DIMS)
        self.net.weight.data = torch.randn(DIMS, DIMS, generator=generator)
        self.register_buffer("mask", torch.ones(DIMS, DIMS).tril(diagonal))

    def shift(self, x):
        return torch.nn.functional.linear(x, self.net.weight * self.mask, self.net.bias).tanh()

    def forward_and_log_det(self, x, context=None):
        return x + self.shift(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        x = torch.zeros_like(z)
        for _ in range(DIMS):
            x = z - self.shift(x)
        return x, z.new_zeros(len(z))


@pytest.mark.parametrize(("diagonal", "status"), [(-1, "pass"), (0, "fail"), (1, "fail")])
def test_an_autoregression_whose_elements_see_themselves_is_told_from_an_expanding_residual_block(diagonal, status):
    result = results(task_of(OpenMask(diagonal)), [INVERSE])[INVERSE]
    assert result.status == status, result
    if diagonal == 1:
        assert "sees itself" in result.cause


class Product(Bijector):
    """Scales each element, and takes the logarithm of the product of the scales."""

    def __init__(self, scale):
        super().__init__()
        self.net, self.scale = network(), nn.Parameter(torch.full((DIMS,), scale))

    def forward_and_log_det(self, x, context=None):
        return x * self.scale, self.scale.prod().log().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z / self.scale, -self.scale.prod().log().expand(len(z))


@pytest.mark.parametrize(("scale", "status"), [(1e-4, "fail"), (1e-2, "pass")])
def test_a_product_that_float32_cannot_hold_is_named(scale, status):
    name = "log-likelihoods are finite"
    result = results(task_of(Coupling(), Product(scale)), [name])[name]
    assert result.status == status, result
    assert ("range of float32, in log of numbers from 0 to 0" in result.cause) == (status == "fail")


class Refusing(Logit):
    """A logit that refuses 0 and 1."""

    def forward_and_log_det(self, x, context=None):
        if x.min() <= 0 or x.max() >= 1:
            raise ValueError("outside of the domain")
        return super().forward_and_log_det(x, context)


def test_a_flow_that_refuses_0_and_1_is_asked_about_the_middle_of_levels():
    flow = Flow(Sequential([Refusing(0.0), Flatten((1, 4, 4)), Coupling()]), (1, 4, 4)).eval()
    levels = images().levels
    levels[:, :, 0] = torch.tensor([0, 255, 0, 255], dtype=torch.uint8)
    task = DiagnosisTask(flow, images()._replace(levels=levels, x=(levels + 0.5) / 256))
    assert math.isfinite(undithered_gain(flow, levels, task.batch.x))


class OneSided(Bijector):
    """A shift by the label which its inverse leaves out; another layer uses labels rightly."""

    def __init__(self, tells_inverse):
        super().__init__()
        self.net, self.tells_inverse = network(), tells_inverse

    def forward_and_log_det(self, x, context=None):
        return x + 0.1 * (1 + context[:, None]), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z - 0.1 * (1 + self.tells_inverse * context[:, None]), z.new_zeros(len(z))


def test_a_layer_whose_inverse_leaves_out_the_label_is_named():
    layers = [Logit(0.05), Flatten((1, 4, 4)), OneSided(1), OneSided(0), OneSided(1)]
    flow = Flow(Sequential(layers), (1, 4, 4), 4).eval()
    batch = images()._replace(context=torch.arange(60) % 4)
    result = results(DiagnosisTask(flow, batch), [INVERSE])[INVERSE]
    assert "inverse of this layer does not depend on the label" in result.cause, result
    assert "bijectors.3 (OneSided)" in result.measured


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


class Fitted(Coupling):
    """The best affine map of logits for the loss -(weight * log p(z) + log_det)."""

    def __init__(self, logits, weight):
        super().__init__()
        self.mean, self.std = logits.mean(0), logits.std(0) * weight**0.5

    def forward_and_log_det(self, x, context=None):
        return (x - self.mean) / self.std, -self.std.log().sum().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))


@pytest.mark.parametrize("weight", [1 / DIMS, 1.0])
def test_a_log_determinant_of_too_much_weight_is_told_by_latents_of_one_width(weight):
    """The loss is least for latents of a deviation of 1 / sqrt(weight)."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.linspace(20, 200, DIMS).reshape(1, 4, 4) + 4 * torch.randn(100, 1, 4, 4, generator=generator)
    levels = levels.round().to(torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=generator)) / 256
    fitted = Fitted((0.05 + 0.9 * x.flatten(1)).logit(), weight)
    task = DiagnosisTask(flow_of(fitted), Batch(x, torch.full((100,), DIMS * math.log(256)), levels, None))
    cause = cause_of_many_bits(task, 10.0)
    if weight == 1:
        assert cause is None
    else:
        width = float(cause.text.split()[2])
        assert width == pytest.approx(4, rel=0.02), cause
        assert f"weight of the log-density of the base, as a sum over {DIMS} dimensions" in cause.text
