"""Does the inverse undo the forward map, as computed?"""

import torch
from torch import Tensor

from nf_mnist.flows import Flow


@torch.no_grad()
def round_trip_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return the largest absolute error of ``decode(encode(x))`` for each image, shape (batch,).

    Invertible on paper is not invertible in float32: a large local Lipschitz constant in either direction magnifies
    rounding. The error is in the units of x, where 1/256 is one grey level.
    """
    return (flow.decode(flow.encode(x, context), context) - x).abs().flatten(1).amax(1)
