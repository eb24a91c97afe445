"""Throughput, memory and utilization of training, eager and compiled, also of normflows' Glow."""

import importlib.util
import json
import subprocess
import sys
import time

from benchmarks.gpu.parts import Plan, Rows

MODELS = ("resflow", "glow", "hierarchical", "tarflow")
PEERS = ("nf_mnist", "normflows")  # the Glow of benchmarks/speed/peers_models.py, built with each of them
BATCH_SIZES = (128, 1024)
LEAST_SECONDS = 20  # a variant begins only if so many are left


def rows(plan: Plan) -> Rows:
    """Yield each variant's images per second, MiB and utilization; each runs in a process of its own."""
    for variant in variants(plan):
        key = f"{variant[0]}, {'compiled' if variant[2] else 'eager'}, batch {variant[1]}"
        left = plan.deadline - time.time() - 5
        if left < (0 if plan.rehearse else LEAST_SECONDS):
            yield key, {"error": "no time was left"}
            continue
        yield key, measured(variant, plan, left)


def variants(plan: Plan) -> list[tuple[str, int, bool]]:
    """Return name, batch size and whether it is compiled; those that take long come last."""
    sizes = (2,) if plan.rehearse else BATCH_SIZES
    names = [*MODELS, *(f"peer:{library}" for library in PEERS if library == "nf_mnist" or _is_there(library))]
    eager = [(name, size, False) for size in reversed(sizes) for name in names]
    return eager if plan.rehearse else [*eager, *((name, sizes[-1], True) for name in names)]


def measured(variant: tuple[str, int, bool], plan: Plan, seconds: float) -> dict[str, object]:
    """Run a variant within a number of seconds; return its row, or its error."""
    name, batch_size, compiled = variant
    command = [sys.executable, "-m", "benchmarks.gpu.variant", name, str(batch_size)]
    command += ["--compiled"] * compiled + ["--rehearse"] * plan.rehearse
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"it took longer than {seconds:.0f} s"}
    if done.returncode:
        return {"error": next(reversed(done.stderr.strip().splitlines()), f"status {done.returncode}")}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _is_there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None
