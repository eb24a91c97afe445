"""How does log p rise along a climb in the hidden pixels? ``python -m benchmarks.inpainting.landscape``.

Trains the flow of riddle 9 (docs/riddles.md) with its second tanh and without, and completes the lower half of 25
validation images by plain steps and by Adam in logit space. Writes log p after every step, minus that of the true
image, to ``results/landscape.json``: the median and the quartiles over images. ``python -m tools.landscape`` draws
them.
"""

from pathlib import Path

import torch

from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe
from nf_mnist.inpainting.logits import log_prob_of_logits, to_logits
from riddles.inpainting import WAYS
from riddles.measures import N_COMPLETED, task
from riddles.runs import SEED, Run, riddles, train

RESULT = Path(__file__).parents[2] / "results" / "landscape.json"
RIDDLE, N_STEPS = 9, 500
QUARTILES = (0.25, 0.5, 0.75)


def rises(run: Run) -> dict[str, list[list[float]]]:
    """Return the quartiles of log p minus the truth's, in nats, after each step, for each way to climb."""
    x, observed = task(run)
    of_truth = log_prob_of_logits(run.flow, to_logits(x))[1]
    found = {}
    for name, method in WAYS.items():
        generator = torch.Generator().manual_seed(SEED)  # both start from the same noise
        climbed = method(run.flow, x, observed, n_samples=1, generator=generator, n_steps=N_STEPS)
        gaps = (climbed.trace[:, 0] - of_truth).double()
        found[name] = [gaps.quantile(share, dim=1).tolist() for share in QUARTILES]
        print(name, [round(one[-1], 1) for one in found[name]], flush=True)
    return found


def main() -> None:
    """Climb on both flows and write the results."""
    torch.set_num_threads(1)
    riddle = riddles()[RIDDLE]
    runs = {"resflow_double_tanh": train(riddle.name), "resflow": train(riddle.name, riddle.remedy)}
    about = {"n_images": N_COMPLETED, "quartiles": QUARTILES, "seed": SEED, "hardware": describe()}
    flows = {name: {"bpd": run.bpd, **rises(run)} for name, run in runs.items()}
    write_json(RESULT, {**about, "flows": flows})


if __name__ == "__main__":
    main()
