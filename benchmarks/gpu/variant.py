"""One variant of ``benchmarks.gpu.speed``, in its own process; prints a line of JSON for each batch size."""

import argparse
import json
import time
import warnings
from collections.abc import Callable

import torch

from benchmarks.gpu.commands import SMALL
from benchmarks.gpu.utilization import Utilization
from benchmarks.measuring import Metrics, default_device, spread, training_step
from benchmarks.speed.peers_flow import PeerFlow, Variant
from benchmarks.speed.peers_models import conditioners
from nf_mnist.hardware import resolve_precision, synchronize, use_ieee_float32

SECONDS = 1.0  # of each repeat
REPEATS = 3


def main() -> None:
    """Measure one variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("batch_sizes", nargs="+", type=int)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    use_ieee_float32()
    for batch_size in options.batch_sizes:
        step = make_step(options.name, batch_size, options.compiled, options.rehearse)
        row = measure(step, batch_size, 0.01 if options.rehearse else SECONDS)
        print(json.dumps({"batch_size": str(batch_size), **row}), flush=True)


def make_step(name: str, batch_size: int, compiled: bool, rehearse: bool) -> Callable[[], None]:
    """Return a function that takes a training step of a model of ours, or of a library's Glow."""
    kind, _, library = name.partition(":")
    if kind != "peer":
        small = SMALL[name] if rehearse else []
        return training_step([f"model={name}", *small, f"data.batch_size={batch_size}", f"model.compile={compiled}"])
    flow = PeerFlow(Variant("glow", library, "tuned"), batch_size, batch_size)
    flow.training()  # sets activation normalizations before anything is compiled
    for network in conditioners(flow.flow) if compiled else ():
        network.compile()
    return flow.training


def measure(step: Callable[[], None], batch_size: int, seconds: float) -> Metrics:
    """Return speed, memory and utilization of training steps, which are not waited for one by one."""
    device, begin = default_device(), time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        step()
    synchronize(device)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    step()
    synchronize(device)
    n = max(1, round(seconds / (time.perf_counter() - begin)))
    speeds = []
    with Utilization(device) as utilization:
        for _ in range(REPEATS):
            begin = time.perf_counter()
            for _ in range(n):
                step()
            synchronize(device)
            speeds.append(n * batch_size / (time.perf_counter() - begin))
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {
        "precision": resolve_precision("auto", device.type),
        "seconds_of_first_steps": first,
        "images_per_second": spread(speeds),
        "mebibytes": memory,
        "utilization": utilization.mean(),
    }


if __name__ == "__main__":
    main()
