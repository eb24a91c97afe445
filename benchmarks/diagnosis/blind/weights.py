"""Weights of the flows of the blind trial, kept in a folder."""

import os
from pathlib import Path

import torch
from torch import nn

from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.faulty_libraries import FAULTY_LIBRARIES
from benchmarks.diagnosis.blind.faulty_own import FAULTY_OWN
from benchmarks.diagnosis.blind.faulty_torch import FAULTY_TORCH
from benchmarks.diagnosis.blind.healthy import HEALTHY
from benchmarks.diagnosis.blind.healthy_libraries import HEALTHY_LIBRARIES

FAULTY: dict[str, Case] = {**FAULTY_OWN, **FAULTY_TORCH, **FAULTY_LIBRARIES}
FINE: dict[str, Case] = {**HEALTHY, **HEALTHY_LIBRARIES}
CASES = {**FAULTY, **FINE}
FOLDER = Path(os.environ.get("BLIND_FOLDER", "outputs/blind_diagnosis"))


def load(name: str) -> nn.Module:
    """Return a flow of the trial with its weights, in evaluation mode."""
    torch.manual_seed(0)
    flow = CASES[name].build()
    if source := _source(name):
        flow.load_state_dict(torch.load(_file(source), weights_only=True))
    return flow.eval()


def named() -> nn.Module:
    """Return the flow that the environment names, for the command ``diagnose``."""
    return load(os.environ["BLIND_NAME"])


def fit(name: str) -> None:
    """Train a flow of the trial and write its weights."""
    case = CASES[name]
    if case.fit is None or _file(name).exists():
        return
    torch.manual_seed(0)
    flow = case.build()
    torch.manual_seed(1)
    case.fit(flow)
    _file(name).parent.mkdir(parents=True, exist_ok=True)
    unfinished = _file(name).with_suffix(f".{os.getpid()}")
    torch.save(flow.state_dict(), unfinished)
    unfinished.rename(_file(name))


def _source(name: str) -> str | None:
    return CASES[name].weights or (name if CASES[name].fit else None)


def _file(name: str) -> Path:
    return FOLDER / "weights" / f"{name}.pt"
