"""Audit the bits per dimension of a hierarchical flow: ``python -m benchmarks.density.audit_bpd CKPT [OUT]``.

Computes the same number in three ways: by the flow's log-determinant, on dithered images; as the sum of the
log-probabilities of grey levels; and by coding. For the last, an arithmetic coder (``pip install constriction``) that
uses the model's probabilities writes validation images to a file and reads them back. Also counts how many of all
training and test images are recovered exactly from their latents. ``--level-prior resampled`` audits the weights with
that prior, as :mod:`benchmarks.density.level_prior` measures them.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import constriction
import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.density.level_prior import with_prior
from benchmarks.density.round_trips import n_unchanged
from nf_mnist.app.composing import instantiate
from nf_mnist.app.trained import load_trained
from nf_mnist.bijectors import Bijector, DiscretizedMixture, FactorOut, GroupedMixture, Sequential
from nf_mnist.bijectors.discretized_logistic import LevelMixture
from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.bijectors.tilted import TiltedMixture
from nf_mnist.data import UniformDequantizer, evaluation_noise, split
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim

N_IMAGES, N_CODED, N_ROUND_TRIPS = 2000, 500, 70_000
CATEGORICAL = constriction.stream.model.Categorical(perfect=False)
Step = tuple[DiscretizedMixture | GroupedMixture, Tensor, Tensor]


def decoding_order(bijector: Bijector, index: Tensor) -> Iterator[Step]:
    """Yield the couplings from coarse to fine, each with the pixels that it sees and those that it predicts.

    Args:
        bijector: Bijector of a hierarchical flow.
        index: Number of each pixel of its input, shape (1, channels, height, width).

    Yields:
        The coupling; the numbers of the pixels of its input, shape (channels, height, width); and a mask of the pixels
        of the predicted image that this step decodes, shape (height, width).
    """
    if isinstance(bijector, Sequential):
        steps = []
        for layer in bijector.layers():
            steps.append((layer, index))
            if not isinstance(layer, DiscretizedMixture | GroupedMixture | FactorOut):
                index, _ = layer(index)
        for layer, its_index in reversed(steps):
            yield from decoding_order(layer, its_index)
    elif isinstance(bijector, FactorOut):
        yield from decoding_order(bijector.rest, index[:, : bijector.n_kept])
    elif isinstance(bijector, DiscretizedMixture):
        yield bijector, index[0].long(), torch.ones(index.shape[2:], dtype=torch.bool)
    elif isinstance(bijector, GroupedMixture):
        for group in range(int(bijector.groups.max()) + 1):
            yield bijector, index[0].long(), bijector.groups == group


@torch.no_grad()
def predictions(flow: Flow, levels: Tensor) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield numbers of pixels and the probabilities of their levels, shape (batch, pixels, 256), from coarse to fine.

    ``levels``, shape (batch, dims), may be filled in while this runs: a step sees only pixels of earlier steps.
    """
    for coupling, index, members in decoding_order(
        flow.bijector, torch.arange(flow.dims).reshape(1, *flow.event_shape)
    ):
        x = (levels[:, index.flatten()].float() + 0.5) / N_LEVELS
        mixture = coupling.predict_mixture(x.reshape(len(levels), *index.shape), None)
        predicted = index[coupling.n_kept if isinstance(coupling, DiscretizedMixture) else 0]
        yield predicted[members], level_probabilities(mixture, members.expand(len(levels), -1, -1)).numpy()


def level_probabilities(mixture: LevelMixture | TiltedMixture, mask: Tensor) -> Tensor:
    """Return the probabilities of all levels at the pixels of a mask, shape (batch, pixels, 256).

    The mask has shape (batch, height, width), and as many pixels of each image.
    """
    if isinstance(mixture, TiltedMixture):
        table = mixture.table(mask)
        probabilities = torch.cat([table.black[mask][:, None], table.probabilities], 1)
    else:
        every_level = torch.arange(float(N_LEVELS))
        probabilities = torch.stack([mixture.probability(level.expand(mask.shape))[mask] for level in every_level], 1)
    return probabilities.reshape(len(mask), -1, N_LEVELS)


def encode(flow: Flow, levels: Tensor) -> np.ndarray:
    """Return the code of images of levels, shape (batch, dims), as 32-bit words."""
    coder, known = constriction.stream.queue.RangeEncoder(), torch.zeros_like(levels)
    for pixels, tables in predictions(flow, known):
        coder.encode(levels[:, pixels].flatten().numpy().astype(np.int32), CATEGORICAL, tables.reshape(-1, N_LEVELS))
        known[:, pixels] = levels[:, pixels]
    return coder.get_compressed()


def decode(flow: Flow, code: np.ndarray, n: int) -> Tensor:
    """Return the levels of n images, shape (n, dims), decoded from their code."""
    coder, known = constriction.stream.queue.RangeDecoder(code), torch.zeros(n, flow.dims, dtype=torch.uint8)
    for pixels, tables in predictions(flow, known):
        symbols = coder.decode(CATEGORICAL, tables.reshape(-1, N_LEVELS))
        known[:, pixels] = torch.from_numpy(symbols.astype(np.uint8)).reshape(n, -1)
    return known


def discrete_bpd(flow: Flow, levels: Tensor) -> Tensor:
    """Return bits per dimension by sums of log-probabilities, for levels of shape (batch, dims)."""
    log_p = torch.zeros(len(levels), dtype=torch.float64)
    for pixels, tables in predictions(flow, levels):
        chosen = torch.from_numpy(tables).gather(2, levels[:, pixels].long().unsqueeze(2))
        log_p += chosen.double().log().sum((1, 2))
    return bits_per_dim(log_p, 0.0, flow.dims)


@torch.no_grad()
def flow_bpd(flow: Flow, levels: Tensor, index: Tensor) -> Tensor:
    """Return bits per dimension by the flow's log-det on dithered images, for levels of shape (batch, *event)."""
    x, log_q = UniformDequantizer()(levels, evaluation_noise(index, flow.event_shape, draw=0, seed=0))
    return bits_per_dim(flow.log_prob(x).double(), log_q.double(), flow.dims)


def audit(
    path: str, level_prior: str | None, n_images: int, n_coded: int, n_round_trips: int
) -> dict[str, float | int | str | bool]:
    """Return the three bpd of a checkpoint, on random validation images, and how many of all images are recovered.

    Args:
        path: The checkpoint.
        level_prior: The level prior, if not that of the checkpoint.
        n_images: Number of validation images whose bits are computed in two ways.
        n_coded: Number of those that are coded.
        n_round_trips: Number of the training and test images that are recovered from their latents, a random sample.
    """
    if level_prior is None:
        flow, _, cfg, _ = load_trained(path)
    else:
        flow, cfg = with_prior(path, level_prior)
    image_set = instantiate(cfg.data.source)
    images = split(image_set.train, cfg.data.n_validation, cfg.data.split_seed)[0].levels[:n_images]
    every_image = torch.cat([part.levels for part in image_set])
    order = torch.randperm(len(every_image), generator=torch.Generator().manual_seed(0))[:n_round_trips]
    batches = torch.arange(len(images)).split(50)
    by_flow = torch.cat([flow_bpd(flow, images[rows], rows) for rows in batches])
    by_levels = torch.cat([discrete_bpd(flow, images[rows].flatten(1)) for rows in batches])
    coded = images[:n_coded].flatten(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.bin"
        file.write_bytes(encode(flow, coded).tobytes())
        bits, code = 8 * file.stat().st_size, np.frombuffer(file.read_bytes(), dtype=np.uint32)
    return {
        "checkpoint": path,
        "level_prior": OmegaConf.select(cfg, "model.flow.level_prior", default="none"),
        "n_images": len(images),
        "bpd_flow": by_flow.mean().item(),
        "bpd_levels": by_levels.mean().item(),
        "n_coded": len(coded),
        "bpd_claimed_for_coded": by_levels[: len(coded)].mean().item(),
        "bpd_of_file": bits / coded.numel(),
        "decoded_unchanged": torch.equal(decode(flow, code, len(coded)), coded),
        "n_round_trips": len(order),
        "n_round_trips_exact": sum(n_unchanged(flow, every_image[rows]) for rows in order.split(1000)),
        "bits_per_dim_of_raw": math.log2(N_LEVELS),
    }


def main() -> None:
    """Audit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--level-prior")
    parser.add_argument("--images", type=int, default=N_IMAGES)
    parser.add_argument("--coded", type=int, default=N_CODED)
    parser.add_argument("--round-trips", type=int, default=N_ROUND_TRIPS)
    options = parser.parse_args()
    metrics = json.dumps(
        audit(options.checkpoint, options.level_prior, options.images, options.coded, options.round_trips), indent=2
    )
    print(metrics)
    if options.out:
        options.out.write_text(metrics + "\n")


if __name__ == "__main__":
    main()
