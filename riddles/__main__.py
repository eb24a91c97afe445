"""The seventeen riddles: ``python -m riddles [--only 3 7 ...]``.

Each riddle trains the failing flow of ``conf/experiment/riddle_*.yaml`` and the cured one, measures both, and writes
the outcome to ``results/riddles.json``. Riddles that are in that file are skipped, unless ``--only`` names them. All of
them take 75 minutes on one CPU core.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe, keep_freed_memory
from riddles import inpainting, latents, likelihood, log_det, networks, norms
from riddles.runs import Outcome, Riddle, riddles

RESULT = Path(__file__).parent.parent / "results" / "riddles.json"
MEASURES: dict[int, Callable[[Riddle], Outcome]] = {
    1: likelihood.nan_loss,
    2: log_det.log_det_without_mask,
    3: likelihood.noisy_samples,
    4: likelihood.positive_log_p,
    5: latents.flat_norm,
    6: latents.fresh_z,
    7: norms.batchnorm_explodes,
    8: inpainting.inpainting_in_pixel_space,
    9: inpainting.double_tanh,
    10: latents.sensitive_to_noise,
    11: inpainting.inpaints_at_once,
    12: latents.round_trip_error,
    13: networks.no_mlp_heads,
    14: networks.initialization,
    15: norms.batchnorm_batch_size,
    16: networks.too_complex_to_climb,
    17: inpainting.inpaints_given_time,
}


def saved() -> dict[str, dict]:
    """Return the outcomes in the file of results, by the number of the riddle."""
    return json.loads(RESULT.read_text())["riddles"] if RESULT.exists() else {}


def solve(number: int) -> None:
    """Measure a riddle, print the outcome and save it."""
    riddle, begin = riddles()[number], time.monotonic()
    print(f"{number} {riddle.name}", flush=True)
    outcome = MEASURES[number](riddle)
    row = {"experiment": riddle.name, **outcome._asdict(), "seconds": time.monotonic() - begin, "hardware": describe()}
    rows = {**saved(), str(number): row}
    write_json(RESULT, {"riddles": dict(sorted(rows.items(), key=lambda item: int(item[0])))})
    print(f"  {outcome.result}: {outcome.found}", flush=True)


def main() -> None:
    """Measure the riddles that are asked for, one by one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, nargs="+", choices=MEASURES, metavar="N")
    only = parser.parse_args().only
    keep_freed_memory()
    torch.set_num_threads(1)
    for number in only or [number for number in MEASURES if str(number) not in saved()]:
        solve(number)


if __name__ == "__main__":
    main()
