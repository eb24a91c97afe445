"""Compare our flows with those of normflows, nflows and zuko: ``python -m benchmarks.speed.peers [--repeats 5]``.

Measures speed, memory and round-trip errors of the same architectures; needs ``pip install -e '.[peers]'``. Each flow
at each setting has a process of its own. The processes take turns, so that a drift of the machine affects all alike.
Settings:

- ``shipped``: the other libraries in float32, as their users run them; ours as our commands run it: in training,
  networks in bfloat16 and ``channels_last`` where the hardware gains; float32 for densities and samples; freed memory
  kept;
- ``tuned``: all libraries in bfloat16 where the hardware gains, with ``channels_last``, fused Adam and freed memory
  kept;
- ``compiled``: as ``tuned``, with ``torch.compile`` of the networks, which does not always gain.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import Child, add_row, machine, serve, spread
from benchmarks.speed.peers_flow import SPEEDS, PeerFlow, Variant
from benchmarks.speed.peers_models import BUILDERS

RESULT = Path(__file__).parents[2] / "results" / "peers.json"
SETTINGS = ("shipped", "tuned", "compiled")


def answers(variant: Variant, batch_size: int, n_samples: int, n_steps: int) -> Iterator[dict[str, Any]]:
    """Yield what is measured only once, then the metrics of one repeat after another."""
    warnings.filterwarnings("ignore")
    flow = PeerFlow(variant, batch_size, n_samples)
    try:
        first = flow.warm_up(compiles=variant.setting == "compiled")
    except Exception as error:  # a library's code can fail to compile in any way; then it runs as it is
        if variant.setting != "compiled":
            raise
        flow = PeerFlow(variant, batch_size, n_samples)
        first = {**flow.warm_up(compiles=False), "error": (str(error).splitlines() or [repr(error)])[0]}
    yield first
    while True:
        yield flow.measure(n_steps)


def compare(architecture: str, repeats: int, sizes: list[str]) -> dict[str, dict[str, Any]]:
    """Measure the libraries and settings of an architecture in turn; return their metrics.

    Args:
        architecture: Its name.
        repeats: Number of measurements of each.
        sizes: Options of this command that every process gets.
    """
    variants = [Variant(architecture, library, setting) for library in BUILDERS[architecture] for setting in SETTINGS]
    children = {variant: Child(["-m", "benchmarks.speed.peers", "--child", *variant, *sizes]) for variant in variants}
    once = {variant: child.ask() for variant, child in children.items()}
    found = [{variant: child.ask() for variant, child in children.items()} for _ in range(repeats)]
    metrics: dict[str, dict[str, Any]] = {library: {} for library in BUILDERS[architecture]}
    for variant, child in children.items():
        child.end()
        speeds = {name: spread([repeat[variant][name] for repeat in found]) for name in SPEEDS}
        error = max(repeat[variant]["round_trip_error"] for repeat in found)
        metrics[variant.library][variant.setting] = {**once[variant], **speeds, "round_trip_error": error}
        print(f"{' '.join(variant)}: {speeds['training']['median']:.0f} images/s", flush=True)
    return metrics


def main() -> None:
    """Serve one variant (as a child process), or compare all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--architectures", nargs="+", choices=BUILDERS, default=list(BUILDERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.child:
        serve(answers(Variant(*options.child), options.batch_size, options.samples, options.steps))
        return
    given = {"batch_size": options.batch_size, "samples": options.samples, "steps": options.steps}
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    for name in options.architectures:
        add_row(options.out, name, {**machine(), **given, "libraries": compare(name, options.repeats, sizes)})


if __name__ == "__main__":
    main()
