"""Draw samples above their nearest training images: ``python -m tools.nearest NAME CKPT [--guidance W] [--denoise]``.

Writes ``docs/images/nearest_NAME.png``: pairs of rows, a sample above and below it the training image with the smallest
Euclidean distance of pixels. A flow that copies shows the same image twice.
"""

import argparse

import torch
from torchvision.utils import save_image

from nf_mnist.app.sampling import resolve_sampling
from nf_mnist.app.trained import load_trained
from nf_mnist.data import mnist
from nf_mnist.metrics import draw_levels, nearest
from tools.from_results import ROOT

N_COLUMNS, N_PAIRS = 20, 2


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("ckpt")
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--denoise", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    trained = load_trained(options.ckpt)
    settings = {"guidance": options.guidance, "attention_temperature": None, "denoise": options.denoise}
    sampling = resolve_sampling(settings, trained.flow, trained.dequantizer)
    n = N_COLUMNS * N_PAIRS
    samples = draw_levels(trained.flow, n, batch_size=n, seed=options.seed, sampling=sampling).levels
    train = mnist().train.levels
    found = train[nearest(samples.flatten(1) / 255, train.flatten(1) / 255)]
    rows = [part for pair in zip(samples.split(N_COLUMNS), found.split(N_COLUMNS), strict=True) for part in pair]
    out = ROOT / "docs" / "images" / f"nearest_{options.name}.png"
    save_image(torch.cat(rows) / 255, out, nrow=N_COLUMNS)


if __name__ == "__main__":
    main()
