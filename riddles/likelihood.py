"""Riddles about the loss: a NaN loss, a tiny loss with noise for samples, a positive log-probability."""

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor

from nf_mnist.bijectors import AffineCoupling
from nf_mnist.diagnostics.checks.scales import HUGE
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import log_prob_of_logits, to_logits
from nf_mnist.metrics import radius, round_trip
from riddles.measures import sample_quality
from riddles.runs import Outcome, Riddle, Run, released, train

BIT = 784 * math.log(2)
NEEDED = 7 * BIT + 392 * (1 + math.log(2 * math.pi))  # nats of log-determinant that 1 bpd takes at a typical z


def nan_loss(riddle: Riddle) -> Outcome:
    """Answer riddle 1: unbounded scales against bounded ones, three seeds each."""
    runs = {
        name: [train(riddle.name, [f"seed={seed}", *overrides]) for seed in range(3)]
        for name, overrides in {"unbounded": [], "bounded": riddle.remedy}.items()
    }
    steps = {name: [len(run.losses) if run.error else None for run in some] for name, some in runs.items()}
    first = {name: [run.losses[0] for run in some] for name, some in runs.items()}
    failed = sum(step is not None for step in steps["unbounded"])
    is_cured = not any(steps["bounded"])
    metrics = {
        "steps_before_nan": steps,
        "first_loss": first,
        "last_loss": {name: [run.losses[-1] for run in some] for name, some in runs.items()},
        "bpd": [run.bpd for run in runs["bounded"] if run.curve],
    }
    found = (
        f"{failed} of 3 unbounded runs end in a NaN loss, {sum(map(bool, steps['bounded']))} of 3 with "
        f"a tanh; their losses begin at {_range(first['unbounded'])} and at {_range(first['bounded'])} nats"
    )
    return Outcome("confirmed" if failed and is_cured else "refuted", found, metrics)


def noisy_samples(riddle: Riddle) -> Outcome:
    """Answer riddle 3: with and without logit and dequantization; ActNorm, which lifts the bound; a released flow."""
    runs = {
        **{" ".join(key): run for key, run in four_cells(riddle).items()},
        "none uniform, actnorm": train(riddle.name, ["data.dequantizer=uniform", "model.norm=actnorm"]),
        "pretrained:resflow": released("resflow"),
    }
    return compare_cells({name: _cell(run) for name, run in runs.items()})


def compare_cells(table: dict[str, dict[str, Any]]) -> Outcome:
    """Return the outcome of riddle 3, given the metrics of its cells."""
    half = table["none none"]["frechet_distance"] / 2
    dithered, logit, both = (table[key]["frechet_distance"] < half for key in list(_CELLS)[1:])
    norms = ", ".join(f"{table[key]['radius_mean']:.1f} {name}" for key, name in _CELLS.items())
    frechet = ", ".join(f"{table[key]['frechet_distance']:.0f}" for key in _CELLS)
    failing = table["none none"]
    found = (
        f"norm of z {norms}; Frechet distance {frechet} (pretrained:resflow "
        f"{table['pretrained:resflow']['frechet_distance']:.0f}); without a logit {failing['log_det']:.0f} of the at "
        f"most {failing['log_det_budget']:.0f} nats of log-determinant are used, and 1 bpd needs {NEEDED:.0f}"
    )
    result = "confirmed" if dithered and logit else "partly" if both and (dithered or logit) else "refuted"
    return Outcome(result, found, {"needed_log_det": NEEDED, "cells": table})


def four_cells(riddle: Riddle) -> dict[tuple[str, str], Run]:
    """Return trainings with and without logit and dequantization, by (preprocess, dequantizer)."""
    return {
        (preprocess, dequantizer): train(
            riddle.name, [f"model.preprocess={preprocess}", f"data.dequantizer={dequantizer}"]
        )
        for preprocess, dequantizer in product(("none", "logit"), ("none", "uniform"))
    }


def positive_log_p(riddle: Riddle) -> Outcome:
    """Answer riddle 4: where a flow passes +700 nats, and the density of one trained flow in four units."""
    run, good = train(riddle.name), released("resflow")
    densities = [784 * math.log(256) - loss for loss in run.losses]
    step = next((number for number, density in enumerate(densities, 1) if density >= 700), None)
    passing = train(riddle.name, [f"trainer.max_steps={step or len(densities)}"])
    bpd_at_700 = 8 - 700 / BIT
    sure = sample_quality(passing)["confident_share"]
    units = _units(good)
    metrics = {"passes_700_at_step": step, "bpd_at_700": bpd_at_700, "confident_share": sure, "units": units}
    spread = max(unit["bpd"] for unit in units.values()) - min(unit["bpd"] for unit in units.values())
    nats = ", ".join(f"{unit['nats']:+.0f} per {name}" for name, unit in units.items())
    found = (
        f"+700 nats at step {step}, {bpd_at_700:.2f} bits per dimension, {sure:.0%} of samples look like digits; "
        f"pretrained:resflow has {nats} in nats, and {units['x']['bpd']:.2f} bits per dimension in every unit"
    )
    is_confirmed = step is not None and 6.6 <= bpd_at_700 <= 6.8 and sure <= 0.01 and spread <= 0.01
    return Outcome("confirmed" if is_confirmed else "refuted", found, metrics)


_CELLS = {
    "none none": "with neither",
    "none uniform": "with dequantization alone",
    "logit none": "with a logit alone",
    "logit uniform": "with both",
}


def _cell(run: Run) -> dict[str, float | None]:
    task = run.task()
    z, log_prob, _ = task.scores
    trip = round_trip(run.flow, task.batch.x[:32])
    log_det = (log_prob - run.flow.base.log_prob(z)).mean().item()
    norms = radius(z)
    return {
        "nats_per_dim": log_prob.mean().item() / 784,
        "bpd": run.bpd if run.dequantizer.is_discrete and run.curve else None,
        "round_trip_levels": trip.largest,
        "round_trip_changed": trip.changed,
        "log_det": log_det,
        "log_det_budget": log_det_budget(run.flow),
        "radius_mean": norms.mean,
        "radius_std": norms.std,
        **sample_quality(run),
    }


def log_det_budget(flow: Flow) -> float:
    """Return the largest log-determinant that the affine couplings can have, in nats."""
    couplings = [part for part in flow.modules() if isinstance(part, AffineCoupling)]
    return sum(
        ((1 - part.mask) * part.scale_activation(torch.full_like(part.mask, HUGE))).sum().item() for part in couplings
    )


@torch.no_grad()
def _units(run: Run) -> dict[str, dict[str, float]]:
    """Return mean log-densities of the same images in several units, in nats and in bits per dimension."""
    batch = run.task().batch
    x, log_q = batch.x, batch.log_q
    log_prob, of_logits = run.flow.log_prob(x).double(), log_prob_of_logits(run.flow, to_logits(x))[1].double()
    squashed = 1e-5 + (1 - 2e-5) * x.double()
    slope = (squashed.log() + torch.log1p(-squashed) - math.log(1 - 2e-5)).flatten(1).sum(1)  # log dx/dy
    rows: dict[str, tuple[Tensor, Tensor | float]] = {
        "x": (log_prob, 0.0),
        "grey level": (log_prob - 784 * math.log(256), 784 * math.log(256)),
        "2x - 1": (log_prob - 784 * math.log(2), 784 * math.log(2)),
        "logit": (of_logits, -slope),
    }
    return {
        name: {"nats": nats.mean().item(), "bpd": ((log_q - nats - counted).mean() / BIT).item()}
        for name, (nats, counted) in rows.items()
    }


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
