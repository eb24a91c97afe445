"""What do cached keys and values save? ``python -m benchmarks.speed.cached_sampling [--repeats 5]``.

Draws 64 samples of an untrained ``model=tarflow``, whose cost does not depend on its weights, in float32: as
:meth:`nf_mnist.flows.Flow.sample` does, and without a cache, where each patch takes a pass of the network over all
patches. The two take turns. Writes ``results/cached_sampling.json``.
"""

import argparse
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from benchmarks.measuring import default_device, machine, seconds_per_call, shipped_configuration, spread
from nf_mnist.app.building import build_module
from nf_mnist.bijectors import PatchAutoregression, Sequential
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.flows import Flow

RESULT = Path(__file__).parents[2] / "results" / "cached_sampling.json"
N_SAMPLES = 64


@torch.no_grad()
def sample_without_cache(flow: Flow, n: int) -> Tensor:
    """Draw n samples, shape (n, 1, 28, 28)."""
    x = flow.base.sample(n, torch.Generator().manual_seed(0)).to(next(flow.parameters()))
    for layer in reversed(cast(Sequential, flow.bijector).layers()):
        x = _inverse(layer, x) if isinstance(layer, PatchAutoregression) else layer.inverse_and_log_det(x)[0]
    return x


def _inverse(layer: PatchAutoregression, z: Tensor) -> Tensor:
    """Return the inverse of an autoregression, by a pass over all patches for each patch."""
    z = z.flip(1) if layer.is_reversed else z
    x = z.clone()
    for i in range(1, z.shape[1]):
        shift, log_scale = layer.net(x).chunk(2, -1)
        x[:, i] = z[:, i] * log_scale[:, i - 1].exp() + shift[:, i - 1]
    return x.flip(1) if layer.is_reversed else x


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    flow = build_module(shipped_configuration(["model=tarflow"])).flow.to(default_device()).eval()
    calls = {
        "with the cache": lambda: flow.sample(N_SAMPLES, generator=torch.Generator().manual_seed(0)),
        "without": lambda: sample_without_cache(flow, N_SAMPLES),
    }
    drawn = [call().flatten() for call in calls.values()]
    torch.testing.assert_close(*drawn, atol=1e-5, rtol=0)
    found = [
        {name: seconds_per_call(call, 1, default_device()) for name, call in calls.items()} for _ in range(repeats)
    ]
    ratios = [each["without"] / each["with the cache"] for each in found]
    seconds = {name: spread([each[name] for each in found]) for name in calls}
    write_json(RESULT, {**machine(), "n_samples": N_SAMPLES, "seconds": seconds, "ratio": spread(ratios)})
    print(seconds, spread(ratios))


if __name__ == "__main__":
    main()
