"""Running statistics that are not those of the data, as an experiment shows."""

import torch

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.measures.norms import running_norms
from nf_mnist.flows import Flow


@torch.no_grad()
def with_new_statistics(flow: Flow, batch: Batch) -> Flow | None:
    """Return a copy of a flow whose running statistics are those of a batch; None if it has none that can be renewed.

    Args:
        flow: The flow, which is left unchanged.
        batch: Images to take the statistics of.
    """
    renewed = copied(flow)
    norms = [norm for _, norm in running_norms(renewed)]
    for norm in norms:
        norm.momentum = 1.0  # the share of the newest batch, as torch means it
    try:
        renewed.train().bijector.forward_and_log_det(batch.x.clone(), batch.context)
    except Exception:  # a user's layer may fail in any way in training
        return None
    return renewed.eval() if norms else None
