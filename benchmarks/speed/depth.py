"""Memory and time of a training step against depth: ``python -m benchmarks.speed.depth``.

Measures ``uva_simple`` at several depths, with activations kept and recomputed in the backward pass. Each depth runs in
a process of its own, so that it cannot reuse memory that another one has freed. On a CPU, memory means the peak of the
process minus what it used before the steps, read from Linux's /proc.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.measuring import default_device, seconds_per_call, training_step
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe, keep_freed_memory

RESULT = Path(__file__).parents[2] / "results" / "depth.json"
DEPTHS = (4, 8, 16, 32)


def measure(depth: int, recompute: bool, batch_size: int, n_steps: int) -> tuple[float, float]:
    """Take training steps in this process; return their peak memory in MiB, and the median seconds of a step.

    Args:
        depth: Number of couplings.
        recompute: Whether couplings recompute their activations in the backward pass.
        batch_size: Images in a step.
        n_steps: Number of steps; the first one is not timed.
    """
    overrides = ["model=uva_simple", f"model.flow.n_couplings_at=[{depth}]", f"model.recompute={recompute}"]
    device = default_device()
    keep_freed_memory()  # otherwise mapping memory dominates, and its time is not linear in depth
    step = training_step([*overrides, f"data.batch_size={batch_size}"], as_shipped=False)
    before = begin_memory(device)
    step()
    seconds = seconds_per_call(step, n_steps - 1, device)
    return (peak_memory(device) - before) / 2**20, seconds


def begin_memory(device: torch.device) -> int:
    """Reset the peak of memory; return the bytes in use."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes what is in use
    return _status("VmRSS")


def peak_memory(device: torch.device) -> int:
    """Return the peak of bytes in use since :func:`begin_memory`."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM")


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure one depth (as a child process), or all of them with and without recomputing, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.depth:
        print(*measure(options.depth, options.recompute, options.batch_size, options.steps))
        return
    rows = []
    for recompute in (False, True):
        for depth in options.depths:
            command = [
                sys.executable,
                "-m",
                "benchmarks.speed.depth",
                "--depth",
                str(depth),
                "--batch-size",
                str(options.batch_size),
            ]
            command += ["--steps", str(options.steps), *(["--recompute"] if recompute else [])]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            memory, seconds = map(float, run.stdout.split())
            rows.append({"couplings": depth, "recompute": recompute, "mebibytes": memory, "seconds_per_step": seconds})
            print(f"{depth} couplings, recompute={recompute}: {memory:.0f} MiB, {seconds:.2f} s per step", flush=True)
    write_json(
        options.out, {"model": "uva_simple", "batch_size": options.batch_size, "hardware": describe(), "depths": rows}
    )


if __name__ == "__main__":
    main()
