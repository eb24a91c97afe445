"""Why an inverse does not undo forward: the first cause that an experiment shows."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible, decoded_again
from nf_mnist.diagnostics.causes.dependencies import has_wrong_log_det, passes_that_are_right, sees_itself
from nf_mnist.diagnostics.causes.domains import ends_of_inverse, period_of
from nf_mnist.diagnostics.causes.experiments import one_sided_parameters, rounding_error
from nf_mnist.diagnostics.causes.solvers import cause_in_a_solver, how_steep
from nf_mnist.diagnostics.causes.values import Cause
from nf_mnist.diagnostics.measures.jacobian import jacobian_of
from nf_mnist.diagnostics.measures.rounding import rounds_to
from nf_mnist.diagnostics.measures.tails import ends_of

ROUNDING = 100.0  # times what the last digit of z moves x is still rounding


def cause_of_wrong_inverse(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return why data do not come back; None if no experiment shows it.

    Args:
        bijector: The map, or the layer that fails.
        x: Events that do not come back, shape (batch, *event).
    """
    if how := rounds_to(bijector, x):
        return Cause(
            f"values are rounded: {how}. Different inputs become one output, so that the map is not one to one",
            "compute in the precision of the input: no half(), float(), round() or floor() on what passes through",
        )
    if is_permuted(bijector, x):
        return Cause(
            "the inverse returns the right values at other places: it leaves out a permutation of forward, undoes it "
            "twice or by the wrong order",
            "undo each permutation of forward by its inverse, in the opposite order of the layers",
        )
    if ends := ends_of(bijector, x):
        return Cause(
            f"the map is not onto: its outputs lie between {ends[0]:.4g} and {ends[1]:.4g} however large its inputs "
            "are, so that latents beyond have no image, and near these ends the inverse loses its digits",
            "end with a map onto all numbers, or take a base distribution that ends where the map does",
        )
    if is_rounding(bijector, x):
        return Cause(
            "rounding explains it: a change of z in its last digit moves the data as far, so the inverse is right and "
            "the map magnifies too much, as after divergence",
            "go back to an earlier checkpoint, then a lower learning rate; bound the scales",
        )
    jacobian = jacobian_of(bijector, x[:1])
    if sees_itself(bijector, x[:1], jacobian):
        return SEES_ITSELF
    if is_many_to_one(bijector, x):
        if period := period_of(bijector, x):
            return Cause(
                f"the map is not one to one: it wraps values around, and they come back displaced by {period:.6g}, "
                "as angles do",
                "give circular layers angles only, within one turn, and all other values a map of the whole line",
            )
        return Cause(
            "the map is not one to one: an event comes back as another one that has the same latent. It folds space or "
            f"cuts values off{how_steep(bijector, x[:1], jacobian)}",
            "constrain the layer so that it cannot fold: a residual block to a contraction, a planar layer to w u > -1",
        )
    if ends := ends_of_inverse(bijector, x):
        return Cause(
            f"the inverse returns values from {ends[0]:.6g} to {ends[1]:.6g} only: data beyond come back at its "
            "ends, as of a search within fixed bounds",
            "widen the bounds of the search until they hold all data and samples, or standardise what enters the layer",
        )
    if n_right := passes_that_are_right(bijector, x[:1], jacobian):
        return Cause(
            "the inverse of an autoregression takes too few passes: elements come back if at most "
            f"{n_right} of the passes are needed for them, and those further down the order do not",
            "take as many passes as the order has elements, each with what the last one has found",
        )
    one_sided = one_sided_parameters(bijector, x)
    if one_sided:
        name, direction = next(iter(one_sided.items()))
        other = "inverse" if direction == "forward" else "forward"
        return Cause(
            f"{name} changes {direction} but not {other}, which uses an older copy of it or leaves it out",
            f"compute what {other} needs from {name} in each call, and keep no copy of it",
        )
    if in_a_solver := cause_in_a_solver(bijector, x, jacobian):
        return in_a_solver
    return NEITHER_BELONGS if has_wrong_log_det(bijector, x[:1], jacobian) else None


SEES_ITSELF = Cause(
    "an element that is transformed sees itself or another one that is: the mask lets it through to the network, and "
    "the Jacobian is not triangular",
    "give the network nothing but the elements that pass unchanged",
)
NEITHER_BELONGS = Cause(
    "neither the inverse nor the log-determinant are those of forward: forward does something more, or both rely on "
    "what does not hold, such as a matrix that is orthogonal or triangular",
    "derive both from what forward computes, and keep such a matrix by a parametrization",
)


@torch.no_grad()
def is_permuted(bijector: Invertible, x: Tensor) -> bool:
    """Return whether each event comes back with all its values, which differ, at other places."""
    back = decoded_again(bijector, x).flatten(1)
    sent = x.flatten(1)
    values = sent.sort(1).values
    scale = 1e-6 * (values[:, -1:] - values[:, :1])
    has_moved = ((back - sent).abs() > 10 * scale).any()
    return bool(((back.sort(1).values - values).abs() <= scale).all() and has_moved and (scale > 0).all())


@torch.no_grad()
def is_rounding(bijector: Invertible, x: Tensor) -> bool:
    """Return whether the round trip errs by no more than a change of z in its last digit makes it err."""
    error = (decoded_again(bijector, x) - x).abs().max().item()
    return error <= ROUNDING * rounding_error(bijector, x)


@torch.no_grad()
def is_many_to_one(bijector: Invertible, x: Tensor) -> bool:
    """Return whether an event comes back as another one, far from it, that has the same latent."""
    z, _ = bijector.forward_and_log_det(x)
    back = bijector.inverse_and_log_det(z)[0].reshape(x.shape)
    again, _ = bijector.forward_and_log_det(back)
    is_other = (back - x).abs().flatten(1).amax(1) > 1e-6 * (1 + x.abs().max())
    is_same = (again - z).abs().flatten(1).amax(1) <= 1e-12 * (1 + z.abs().max())
    return bool((is_other & is_same).any())
