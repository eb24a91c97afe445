"""What is each part of the level prior worth? ``python -m benchmarks.density.prior_ablation [--minutes 3]``.

Trains ``hierarchical`` from scratch for the same time without a prior, with palettes, with the tables of how MNIST was
resampled, with these less a part, and with training images drawn anew, one after another. Measures each on all
validation images, and adds a row to ``results/prior_ablation.json``. Variants that have a row of the same minutes and
hardware are skipped.
"""

import argparse
from pathlib import Path

from benchmarks.density.ablation import HIERARCHICAL, TRAIN, add_variant

RESULT = Path(__file__).parents[2] / "results" / "prior_ablation.json"
RESAMPLED = [*HIERARCHICAL, "model.flow.level_prior=resampled"]
REDUCED = "benchmarks.density.reduced_prior"
VARIANTS = {
    "none": (TRAIN, HIERARCHICAL),
    "palettes": (TRAIN, [*HIERARCHICAL, "model.flow.level_prior=palettes"]),
    "resampled": (TRAIN, RESAMPLED),
    "resampled, always in the middle": ((REDUCED, "window"), RESAMPLED),
    "resampled, gamma 1": ((REDUCED, "gamma"), RESAMPLED),
    "resampled, images drawn anew": (TRAIN, [*RESAMPLED, "data.rerender=0.1"]),
}


def main() -> None:
    """Train the variants that are missing, and add their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for name in options.variants:
        module, overrides = VARIANTS[name]
        add_variant(options.out, name, overrides, options.minutes, module)


if __name__ == "__main__":
    main()
