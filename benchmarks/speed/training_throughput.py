"""Training speed of ``resflow``, plain against shipped: ``python -m benchmarks.speed.training_throughput``.

Plain is float32 in the default memory layout; shipped is what the train command does on this machine. The variants take
turns, each in a process of its own, so that a drift of the machine affects both alike and the memory settings of one do
not reach the other. ``--repeats 7`` says how often, ``--out FILE`` writes the results elsewhere.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import default_device, seconds_per_call, training_step
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe
from nf_mnist.nets import normed_conv

RESULT = Path(__file__).parents[2] / "results" / "training_throughput.json"
VARIANTS = ("plain", "shipped")


def images_per_second(variant: str, batch_size: int, n_steps: int) -> float:
    """Train a few steps in this process; return the median speed in images per second.

    Args:
        variant: ``plain`` is float32 in the default layout with PyTorch's own layers; ``shipped`` is what the train
            command does on this machine.
        batch_size: Images in a step.
        n_steps: Number of timed steps, after three that are not timed.
    """
    is_shipped = variant == "shipped"
    if not is_shipped:
        normed_conv.MIN_CHANNELS_PER_ELEMENT = sys.maxsize
    overrides = [f"model.channels_last={is_shipped}", f"data.batch_size={batch_size}"]
    step = training_step(overrides, as_shipped=is_shipped)
    for _ in range(3):
        step()
    return batch_size / seconds_per_call(step, n_steps, default_device())


def compare(repeats: int, batch_size: int, n_steps: int) -> dict[str, object]:
    """Run the variants in turn; return their speeds, and the ratio of each pair of runs."""
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(repeats):
        for variant in VARIANTS:
            command = [
                sys.executable,
                "-m",
                "benchmarks.speed.training_throughput",
                "--variant",
                variant,
                "--batch-size",
                str(batch_size),
            ]
            run = subprocess.run([*command, "--steps", str(n_steps)], capture_output=True, text=True, check=True)
            speeds[variant].append(float(run.stdout.split()[-1]))
            print(f"{variant}: {speeds[variant][-1]:.1f} images/s", flush=True)
    ratios = [shipped / plain for plain, shipped in zip(*speeds.values(), strict=True)]
    return {"images_per_second": speeds, "ratio_median": statistics.median(ratios), "ratios": ratios}


def main() -> None:
    """Measure one variant (as a child process), or compare both and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.variant:
        print(images_per_second(options.variant, options.batch_size, options.steps))
        return
    metrics = compare(options.repeats, options.batch_size, options.steps)
    print(f"shipped / plain: median {metrics['ratio_median']:.2f} on {describe()}")
    write_json(options.out, {"model": "resflow", "batch_size": options.batch_size, "hardware": describe(), **metrics})


if __name__ == "__main__":
    main()
