"""Memory and time of a training step against depth, with activations kept and computed anew.

``python benchmarks/depth.py`` takes each depth of ``uva_simple`` in a process of its own, so that one does not find the
memory that another has freed. On a CPU memory is what the process has at its peak beyond what it had before the steps,
read from Linux's /proc.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from nf_mnist.cli import write_json

RESULT = Path(__file__).parent.parent / "results" / "depth.json"
DEPTHS = (4, 8, 16, 32)


def measure(depth: int, recompute: bool, batch_size: int, n_steps: int) -> tuple[float, float]:
    """Take training steps in this process; return the memory that they need, in MiB, and the median seconds of one.

    Args:
        depth: Number of couplings.
        recompute: Whether couplings compute their activations anew in the backward pass.
        batch_size: Images in a step.
        n_steps: Steps, of which the first does not count for the time.
    """
    import torch
    from hydra import compose, initialize_config_dir

    from nf_mnist.config import build_module, config_dir
    from nf_mnist.data import draw_noise

    overrides = ["model=uva_simple", f"model.flow.n_couplings_at=[{depth}]", f"model.recompute={recompute}"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", ["name=bench", *overrides])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    module = build_module(cfg).to(device)
    optimizer = module.configure_optimizers()
    levels = torch.randint(256, (batch_size, *cfg.data.event_shape), dtype=torch.uint8, device=device)
    before, seconds = begin_memory(device), []
    for _ in range(n_steps):
        begin = time.perf_counter()
        x, log_q = module.dequantizer(levels, draw_noise(levels))
        loss = (log_q - module.flow.log_prob(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - begin)
    return (peak_memory(device) - before) / 2**20, statistics.median(seconds[1:])


def begin_memory(device) -> int:
    """Forget the peak of memory so far; return the bytes in use."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes what is in use
    return _status("VmRSS")


def peak_memory(device) -> int:
    """Return the bytes that were in use at the peak since :func:`begin_memory`."""
    import torch

    return torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM")


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure one depth (as a child process), or all of them with and without recomputing, and write the JSON."""
    from nf_mnist.training.hardware import describe

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
            command = [sys.executable, __file__, "--depth", str(depth), "--batch-size", str(options.batch_size)]
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
