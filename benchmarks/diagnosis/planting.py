"""How faults are planted in a correct flow."""

import copy
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from benchmarks.diagnosis.healthy_flows import small_images, train_briefly
from nf_mnist.data import Dequantizer, UniformDequantizer
from nf_mnist.flows import Flow

N_FURTHER_STEPS = 200


class Planted(NamedTuple):
    """What a user has who made a mistake.

    Attributes:
        flow: The faulty flow.
        dequantizer: The dequantizer of its data.
        levels: The images that it was trained on, shape (n, 1, side, side). Images to test it on are
            ``small_images(side).held_out``.
    """

    flow: Flow
    dequantizer: Dequantizer
    levels: Tensor


Fault = Callable[[Flow], Planted]


def planted(flow: Flow, dequantizer: Dequantizer | None = None, levels: Tensor | None = None) -> Planted:
    """Put a flow beside its data, which by default are small MNIST images with uniform dither."""
    levels = small_images(flow.event_shape[-1]).train if levels is None else levels
    return Planted(flow, dequantizer or UniformDequantizer(), levels)


def trained_on(flow: Flow, dequantizer: Dequantizer | None = None, levels: Tensor | None = None) -> Planted:
    """Train a copy of a flow further on other data."""
    case = planted(copy.deepcopy(flow), dequantizer, levels)
    train_briefly(case.flow, case.levels, case.dequantizer, N_FURTHER_STEPS)
    return case


def replaced(faulty: type[nn.Module]) -> Fault:
    """Return the fault that replaces each module of the class that ``faulty`` derives from."""

    def fault(flow: Flow) -> Planted:
        flow = copy.deepcopy(flow)
        for module in flow.modules():
            if type(module) is faulty.__base__:
                module.__class__ = faulty
        return planted(flow.eval())

    fault.__doc__ = faulty.__doc__
    return fault
