"""Training speed of the full-size resflow: plain float32 against the shipped defaults, side by side.

Both variants run in turn, each in a process of its own, so that a drift of the machine meets both alike and memory
settings of one do not reach the other: ``python benchmarks/training_throughput.py [--repeats 5] [--out FILE]``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = ("plain", "shipped")


def images_per_second(variant: str, batch_size: int, n_steps: int) -> float:
    """Train a few steps in this process; return the median speed over steps.

    Args:
        variant: ``plain`` is float32 in the default layout, with layers as PyTorch has them; ``shipped`` is what the
            train command does on this machine.
        batch_size: Images in a step.
        n_steps: Steps that count, after three that do not.
    """
    import torch
    from hydra import compose, initialize_config_dir

    from nf_mnist.config import build_module, config_dir
    from nf_mnist.data import draw_noise
    from nf_mnist.nets import normed_conv
    from nf_mnist.training.hardware import keep_freed_memory, resolve_precision

    is_shipped = variant == "shipped"
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", ["name=bench", f"model.channels_last={is_shipped}"])
    if is_shipped:
        keep_freed_memory()
    else:
        normed_conv.LEAST_SAVING = sys.maxsize
    precision = resolve_precision("auto", "cpu") if is_shipped else "32-true"
    module = build_module(cfg)
    optimizer = module.configure_optimizers()
    levels = torch.randint(256, (batch_size, *cfg.data.event_shape), dtype=torch.uint8)
    seconds = []
    for _ in range(n_steps + 3):
        begin = time.perf_counter()
        x, log_q = module.dequantizer(levels, draw_noise(levels))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            _, log_prob = module.flow(x)
        optimizer.zero_grad()
        (log_q - log_prob).mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return batch_size / statistics.median(seconds[3:])


def compare(repeats: int, batch_size: int, n_steps: int) -> dict[str, object]:
    """Run both variants in turn; return speeds, and the ratio pair by pair."""
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(repeats):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--batch-size", str(batch_size)]
            run = subprocess.run([*command, "--steps", str(n_steps)], capture_output=True, text=True, check=True)
            speeds[variant].append(float(run.stdout.split()[-1]))
            print(f"{variant}: {speeds[variant][-1]:.1f} images/s", flush=True)
    ratios = [shipped / plain for plain, shipped in zip(*speeds.values(), strict=True)]
    return {"images_per_second": speeds, "ratio_median": statistics.median(ratios), "ratios": ratios}


def main() -> None:
    """Measure one variant (as a child process), or compare both and write the JSON."""
    from nf_mnist.training.hardware import describe

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("outputs/training_throughput.json"))
    options = parser.parse_args()
    if options.variant:
        print(images_per_second(options.variant, options.batch_size, options.steps))
        return
    figures = compare(options.repeats, options.batch_size, options.steps)
    print(f"shipped / plain: median {figures['ratio_median']:.2f} on {describe()}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    settings = {"model": "resflow", "batch_size": options.batch_size, "hardware": describe()}
    options.out.write_text(json.dumps({**settings, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
