"""Throughput, memory and utilization of training, eager and compiled, also of normflows' Glow."""

import importlib.util
import json
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks.gpu.parts import Plan, Rows
from benchmarks.measuring import Metrics

PEERS = ("peer:nf_mnist", "peer:normflows")  # the Glow of benchmarks/speed/peers_models.py, built with each of them
NAMES = ("hierarchical", "glow", "resflow", "tarflow", *PEERS)
BATCH_SIZES = ("128", "1024")
LEAST_SECONDS = 20  # a variant begins only if so many are left


class Variant(NamedTuple):
    """A model, and whether it is compiled."""

    name: str
    compiled: bool


def rows(plan: Plan) -> Rows:
    """Yield images per second, MiB and utilization of each variant at each batch size."""
    names = [name for name in NAMES if name != PEERS[1] or importlib.util.find_spec("normflows")]
    compiled = (False,) if plan.rehearse else (False, True)  # compiling takes long, so it comes last
    sizes = ("2",) if plan.rehearse else BATCH_SIZES
    for variant in (Variant(name, is_compiled) for is_compiled in compiled for name in names):
        for size, row in measured(variant, sizes, plan).items():
            yield f"{variant.name}, {'compiled' if variant.compiled else 'eager'}, batch {size}", row


def measured(variant: Variant, sizes: tuple[str, ...], plan: Plan) -> dict[str, Metrics]:
    """Measure a variant in a process of its own, in the time that is left; return its rows by batch size."""
    left = plan.deadline - time.time() - 5
    if left < LEAST_SECONDS:
        return {size: {"error": "no time was left"} for size in sizes}
    command = [sys.executable, "-m", "benchmarks.gpu.variant", variant.name, *sizes]
    command += ["--compiled"] * variant.compiled + ["--rehearse"] * plan.rehearse
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left)
    except subprocess.TimeoutExpired:
        return {size: {"error": f"it took longer than {left:.0f} s"} for size in sizes}
    found = {row["batch_size"]: row for row in map(json.loads, done.stdout.splitlines())}
    error = next(reversed(done.stderr.strip().splitlines()), f"it ended with status {done.returncode}")
    return {size: found.get(size, {"error": error}) for size in sizes}
