"""Weights of the flows of the blind trial, kept in a folder: ``python -m benchmarks.diagnosis.blind.weights SET``.

The command trains all flows of a set and diagnoses none.
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks.diagnosis.blind.cases import BlindSet
from benchmarks.diagnosis.blind.sets import SETS


def load(blind: BlindSet, name: str) -> nn.Module:
    """Return a flow of a set with its weights, in evaluation mode."""
    torch.manual_seed(0)
    flow = blind.cases[name].build()
    if source := _source(blind, name):
        flow.load_state_dict(torch.load(_file(blind, source), weights_only=True))
    return flow.eval()


def named() -> nn.Module:
    """Return the flow that the environment names as ``SET/NAME``, for the command ``diagnose``."""
    set_name, name = os.environ["BLIND_FLOW"].split("/")
    return load(SETS[set_name], name)


def fit(blind: BlindSet, name: str) -> None:
    """Train a flow of a set and write its weights, unless they are there or the flow is not trained."""
    source = _source(blind, name)
    if source is None or (file := _file(blind, source)).exists():
        return
    case = blind.cases[source]
    torch.manual_seed(0)
    flow = case.build()
    torch.manual_seed(1)
    assert case.fit is not None
    case.fit(flow)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    torch.save(flow.state_dict(), unfinished)
    unfinished.rename(file)


def _source(blind: BlindSet, name: str) -> str | None:
    case = blind.cases[name]
    return case.weights or (name if case.fit else None)


def _file(blind: BlindSet, name: str) -> Path:
    return blind.folder / "weights" / f"{name}.pt"


def main() -> None:
    """Train all flows of the set that is named."""
    torch.set_num_threads(1)
    blind = SETS[sys.argv[1]]
    for name in blind.cases:
        began = time.process_time()
        fit(blind, name)
        print(f"{name}: {time.process_time() - began:.1f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
