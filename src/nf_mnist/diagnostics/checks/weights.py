"""Checks of the weights: are all of them registered, loaded and saved? Nothing else means much if they are not."""

import torch

from nf_mnist.diagnostics.access.isolation import copied, seeded
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.measures.initial_values import is_random
from nf_mnist.diagnostics.measures.norms import norms_of_other_images
from nf_mnist.diagnostics.measures.weights import unregistered_parts, unsaved_tensors
from nf_mnist.diagnostics.task import DiagnosisTask

SAME = 1e-4  # relative difference of latents that rounding makes between two flows of the same state
N_EVENTS = 4


@check(
    "all parts are registered",
    unit="parts that torch does not know of",
    warn=0.0,
    fail=0.0,
    cause="layers or parameters are kept in a plain list or attribute: they are not in parameters(), so that they are "
    "neither trained, nor saved, nor moved to another device or precision",
    remedy="nn.ModuleList, nn.ModuleDict, nn.ParameterList or nn.Parameter in place of the list or the tensor",
    needs=(),
)
def all_parts_are_registered(task: DiagnosisTask) -> Measurement:
    """The number of modules and of tensors with gradients in attributes that are neither parameters nor buffers."""
    found = unregistered_parts(task.flow.bijector)
    names = [*dict.fromkeys(found)]
    return Measurement(float(len(found)), f"{len(found)} parts, in {', '.join(names[:3])}" if found else "all are")


@check(
    "all weights are loaded",
    unit="of the layers are at their initial values",
    warn=0.1,
    fail=0.2,
    cause="some layers are at their initial values and others are not: a part of the weights was not loaded (names "
    "that differ, strict=False), or is never trained",
    remedy="load_state_dict with strict=True, and read which keys are missing",
    needs=(all_parts_are_registered,),
)
def all_weights_are_loaded(task: DiagnosisTask) -> Measurement:
    """The share of layers at initial values, among those of which that is known, while others are trained.

    Constants, orthogonal matrices, and uniform numbers whose largest reaches the bound of a usual initialization are
    initial values. Weights that each build of the flow draws anew are, too.
    """
    weights = task.weights
    drawn, loaded = _drawn_and_loaded(task)
    if drawn and loaded:
        share = len(drawn) / (len(drawn) + len(loaded))
        text = f"each build draws {len(drawn)} weights anew, such as {drawn[0]}, and not {loaded[0]}"
        return Measurement(share, text)
    if weights.norms and len(weights.moved) >= 2 and not weights.are_initial:
        text = (
            f"running statistics of {len(weights.norms)} layers are still 0 and 1, such as those of {weights.norms[0]}"
        )
        cause = "statistics (buffers) were not saved or not loaded, or the flow was never called in training mode"
        return Measurement(1.0, text, cause, "save state_dict(), not parameters(), and load it with strict=True")
    if weights.are_initial and (norms := norms_of_other_images(task.flow, task.batch.first(task.batch_size))):
        text = f"networks are at their initial values, and {norms[0]} holds numbers that do not fit these images"
        return Measurement(1.0, text)
    if not weights.are_mixed:
        return Measurement(0.0, "all alike" if weights.initial or weights.moved else "not known of any layer")
    share = len(weights.initial) / (len(weights.initial) + len(weights.moved))
    text = f"{len(weights.initial)} layers, such as {weights.initial[0]}, but not {weights.moved[0]}"
    return Measurement(share, text)


@check(
    "the saved state is the whole flow",
    unit="of the size of z",
    warn=SAME,
    fail=0.01,
    cause="something that the flow computes with is not in state_dict(), and each build draws it anew: weights that "
    "are saved do not fit a flow that is built later",
    remedy="register_buffer for permutations, masks and statistics that are drawn or learned",
    needs=(all_parts_are_registered,),
)
def saved_state_is_the_whole_flow(task: DiagnosisTask) -> Measurement:
    """The difference of latents between the flow and one that is built anew and then given its state."""
    if task.rebuilt is None:
        raise NotMeasured("nobody can build this flow anew")
    few, other = task.batch.first(N_EVENTS), copied(task.rebuilt)
    try:
        other.load_state_dict(task.flow.state_dict())
    except RuntimeError as error:
        raise NotMeasured("each build has another state, with other names or shapes") from error
    with torch.no_grad():
        outputs = []
        for flow in (task.flow, other.eval()):
            with seeded(task.seed):
                outputs.append(copied(flow).bijector.forward_and_log_det(few.x.clone(), few.context)[0])
    size = ((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max()).item()
    names = _unsaved_that_differ(task)
    where = f"; not saved, and another one in each build: {', '.join(names[:3])}" if names else ""
    return Measurement(size, f"latents differ by {size:.2g} of their size{where}")


@check(
    "residual networks are contractions",
    unit="of the Lipschitz constant",
    warn=1.0,
    fail=1.0,
    cause="a residual block z = x + g(x) whose g is no contraction: the coefficient of its layers is 1 or more, or "
    "weights are not normalised. Its inverse need not exist, and the series of its log-determinant need not converge",
    remedy="normalise each layer to a spectral norm below 1",
    overrides=("model.flow.coefficient=0.98",),
    needs=(),
)
def residual_networks_are_contractions(task: DiagnosisTask) -> Measurement:
    """The largest product of the spectral norms of a residual network's layers, which bounds its Lipschitz constant."""
    bound = task.flow.bijector.lipschitz_bound()
    if bound is None:
        raise NotMeasured("no layer is a residual block")
    return Measurement(bound, f"at most {bound:.3g}, in the steepest block")


def _drawn_and_loaded(task: DiagnosisTask) -> tuple[list[str], list[str]]:
    """Return the names of trainable matrices that differ between two builds, and of those that were loaded in both."""
    if task.rebuilt is None:
        return [], []
    others = dict(task.rebuilt.named_parameters())
    drawn, loaded = [], []
    for name, value in task.flow.named_parameters():
        other = others.get(name)
        if value.dim() > 1 and value.requires_grad and other is not None and other.shape == value.shape:
            if not torch.equal(value, other.to(value)):
                drawn.append(name)
            elif is_random(value):
                loaded.append(name)
    return drawn, loaded


def _unsaved_that_differ(task: DiagnosisTask) -> list[str]:
    """Return the names of tensors that are not in the state of the flow and differ between two builds."""
    assert task.rebuilt is not None
    ours, others = (unsaved_tensors(flow) for flow in (task.flow, task.rebuilt))
    return [
        name
        for name, value in ours.items()
        if name in others and not (value.shape == others[name].shape and torch.equal(value, others[name].to(value)))
    ]


WEIGHTS = (
    all_parts_are_registered,
    all_weights_are_loaded,
    saved_state_is_the_whole_flow,
    residual_networks_are_contractions,
)
