"""Split a hierarchy's bits by coupling: ``python -m benchmarks.density.bits_by_coupling CKPT [--images 10000]``.

Each coupling predicts its own pixels, so the bits of an image are a sum over couplings. This sum is measured on equally
many training and validation images: the difference shows where the model overfits. The row in
``results/bits_by_coupling.json`` has the name of the released weights, or of the run.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring import add_row
from nf_mnist.app.composing import instantiate
from nf_mnist.app.trained import load_trained
from nf_mnist.bijectors import DiscretizedMixture, GroupedMixture
from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.checkpoints.pretrained import PREFIX
from nf_mnist.data import UniformDequantizer, evaluation_noise, split
from nf_mnist.flows import Flow
from nf_mnist.flows.conditional_flow import observed_image
from nf_mnist.flows.flow import StandardNormal
from nf_mnist.metrics import bits_per_dim

RESULT = Path(__file__).parents[2] / "results" / "bits_by_coupling.json"
BATCH = 500


@torch.no_grad()
def bits(flow: Flow, levels: Tensor, observed: Tensor | None = None) -> list[float]:
    """Return the mean bits per dimension of each coupling, from fine to coarse.

    Args:
        flow: A hierarchy, in evaluation mode.
        levels: Images, shape (n, 1, height, width).
        observed: Which pixels a conditional flow is given, shape (1, height, width); they cost no bits.
    """
    found: dict[nn.Module, list[Tensor]] = {}

    def take(coupling: DiscretizedMixture | GroupedMixture, _: Any, output: tuple[Tensor, Tensor]) -> None:
        z, log_det = output[0][:, coupling.channel].flatten(1), output[1]
        log_prob, log_q = StandardNormal(z.shape[1]).log_prob(z) + log_det, z.shape[1] * math.log(N_LEVELS)
        found.setdefault(coupling, []).append(bits_per_dim(log_prob, log_q, flow.dims))

    couplings = [module for module in flow.modules() if isinstance(module, DiscretizedMixture | GroupedMixture)]
    handles = [coupling.register_forward_hook(take) for coupling in couplings]
    for rows in torch.arange(len(levels)).split(BATCH):
        x, _ = UniformDequantizer()(levels[rows], evaluation_noise(rows, flow.event_shape, draw=0, seed=0))
        flow(x, None if observed is None else observed_image(x, observed))
    for handle in handles:
        handle.remove()
    return [torch.cat(found[coupling]).mean().item() for coupling in couplings]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    flow, _, cfg, _ = load_trained(options.checkpoint)
    validation, training = split(instantiate(cfg.data.source).train, cfg.data.n_validation, cfg.data.split_seed)
    metrics = {
        "checkpoint": options.checkpoint,
        "n_images": options.images,
        "training": bits(flow, training.levels[: options.images]),
        "validation": bits(flow, validation.levels[: options.images]),
    }
    for key in ("training", "validation"):
        print(f"{key}: {sum(metrics[key]):.4f} = {' + '.join(f'{part:.4f}' for part in metrics[key])}")
    name = options.checkpoint.removeprefix(PREFIX) if options.checkpoint.startswith(PREFIX) else cfg.name
    add_row(RESULT, name, metrics)


if __name__ == "__main__":
    main()
