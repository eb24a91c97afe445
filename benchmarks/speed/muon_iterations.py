"""What do the iterations of Muon cost? ``python -m benchmarks.speed.muon_iterations [--repeats 5]``.

Orthogonalizes random matrices of the shapes that Muon trains in an experiment, by the five iterations as they are
written, in float32 and in bfloat16, and as :func:`nf_mnist.training.muon.orthogonalize` takes them, on the Gram matrix.
The three take turns. Writes ``results/muon_iterations.json``.
"""

import argparse
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import (
    SMALL_RESFLOW,
    Metrics,
    default_device,
    machine,
    seconds_per_call,
    shipped_configuration,
    spread,
)
from nf_mnist.app.building import build_module
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.training.muon import N_ITERATIONS, A, B, C, orthogonalize

RESULT = Path(__file__).parents[2] / "results" / "muon_iterations.json"
MODELS = {
    "resflow_small": SMALL_RESFLOW,
    "hierarchical_1h": ["experiment=hierarchical_1h"],
    "tarflow_2h": ["experiment=tarflow_2h"],
}


def stacks(overrides: list[str]) -> list[Tensor]:
    """Return random matrices, shape (n, rows, columns), one stack for each shape that Muon trains."""
    module = build_module(shipped_configuration(overrides))
    by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for group in module.configure_optimizers().param_groups:
        for value in group["params"] if "momentum" in group else []:
            by_shape[value.shape].append(torch.randn(value.shape).flatten(1))
    return [torch.stack(matrices).to(default_device()) for matrices in by_shape.values()]


def iterate(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Take the iterations on the matrices themselves."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = (x / x.norm(dim=(1, 2), keepdim=True)).to(dtype)
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if is_tall else x


def measure(overrides: list[str], repeats: int) -> Metrics:
    """Return milliseconds for all matrices of a model, for each way to iterate."""
    matrices = stacks(overrides)
    ways = {
        "float32": partial(iterate, dtype=torch.float32),
        "bfloat16": partial(iterate, dtype=torch.bfloat16),
        "Gram matrix": orthogonalize,
    }
    calls = {name: lambda way=way: [way(stack) for stack in matrices] for name, way in ways.items()}
    for call in calls.values():
        call()
    found = [
        {name: 1e3 * seconds_per_call(call, 5, default_device()) for name, call in calls.items()}
        for _ in range(repeats)
    ]
    row: Metrics = {name: spread([each[name] for each in found]) for name in ways}
    return {"n_matrices": sum(len(stack) for stack in matrices), "milliseconds": row}


def main() -> None:
    """Measure all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rows = {name: measure(overrides, repeats) for name, overrides in MODELS.items()}
    write_json(RESULT, {**machine(), "models": rows})


if __name__ == "__main__":
    main()
