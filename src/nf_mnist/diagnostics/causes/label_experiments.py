"""Whether both directions of a flow use its labels in the same way."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.layers import reached_layers
from nf_mnist.flows import Flow

CLOSE = 1e-4  # error of a round trip, in the units of images, that a wrong label exceeds


@torch.no_grad()
def cause_in_labels(flow: Flow, x: Tensor) -> str:
    """Say how the inverse uses labels otherwise than forward does; empty if no label makes a difference.

    An image is encoded under each label and decoded under each.

    Args:
        flow: A flow with labels, in evaluation mode and preferably in float64.
        x: One image, shape (1, *event).
    """
    n = flow.n_classes
    labels = torch.arange(n, device=x.device)
    z, _ = flow.bijector.forward_and_log_det(x.expand(n, *x.shape[1:]).contiguous(), labels)
    decoded, _ = flow.bijector.inverse_and_log_det(z.repeat_interleave(n, 0), labels.repeat(n))
    back = decoded.reshape(n, n, -1)  # the image under the label that encodes, then the one that decodes
    error = (back - x.flatten()).abs().amax(2)
    works = error < CLOSE
    if works.diagonal().all():
        return ""
    always = works.diagonal().nonzero().flatten().tolist()
    same = (back - back[:, :1]).abs().max() < CLOSE
    if same and len(always) == 1:
        return f"the inverse takes label {always[0]}, whatever label it is given; forward uses the label"
    if same and len(z.unique(dim=0)) > 1:
        return "the inverse does not depend on the label, and forward does"
    fitting = works.double().argmax(1)
    if works.any(1).all() and len(fitting.unique()) == n:
        steps = {int(step) for step in (fitting - labels) % n}
        how = f"shifted by {steps.pop()}" if len(steps) == 1 else "in another order"
        return f"the labels of the inverse are {how} against those of forward"
    if always:
        return f"the directions fit each other for label {', '.join(map(str, always))} only"
    return ""


@torch.no_grad()
def cause_in_labels_of_a_layer(flow: Flow, x: Tensor, name: str) -> str:
    """Say that only one direction of a layer depends on the label; empty if both do, or neither.

    Args:
        flow: A flow with labels, in evaluation mode and preferably in float64.
        x: One image, shape (1, *event).
        name: Name of the layer in the flow's bijector.
    """
    reached = []
    for label in (0, flow.n_classes - 1):
        layers = reached_layers(flow.bijector, x, torch.full((1,), label, device=x.device))
        reached += [layer for layer in layers if layer.name == name][:1]
    if len(reached) < 2:
        return ""
    value, maps = reached[0].x, [layer.map for layer in reached]
    z = [map_.forward_and_log_det(value)[0] for map_ in maps]
    back = [map_.inverse_and_log_det(z[0])[0] for map_ in maps]
    depends = [not torch.equal(*pair) for pair in (z, back)]
    return {
        (True, False): "the inverse of this layer does not depend on the label, and its forward does",
        (False, True): "forward of this layer does not depend on the label, and its inverse does",
    }.get((depends[0], depends[1]), "")
