"""Draw images from a trained flow: ``python -m nf_mnist.sample ckpt=FILE out=grid.png``."""

import time

from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.output import new_json, new_path
from nf_mnist.app.placement import resolve_placement
from nf_mnist.app.sampling import (
    check_sampling,
    classify_samples,
    draw_samples,
    metrics_path,
    print_classes,
    write_samples,
)
from nf_mnist.app.settings import check_ranges
from nf_mnist.app.trained import load_trained
from nf_mnist.metrics import sample_labels


@command("sample")
def main(cfg: DictConfig) -> None:
    """Write samples as one picture (``out`` ends in .png) or as single images (it is a folder); metrics beside it."""
    check_ranges(cfg)
    placement = resolve_placement(cfg.device, cfg.precision)
    out = new_path(cfg.out)
    metrics_file = metrics_path(out)
    trained = load_trained(cfg.ckpt, cfg.trust)
    flow = trained.flow.to(placement.device, placement.dtype)
    sampling = check_sampling(cfg, flow, trained.dequantizer)
    begin = time.monotonic()
    levels, n_nan = draw_samples(cfg, flow, sampling, placement)
    seconds = time.monotonic() - begin
    out = write_samples(levels, out, cfg.temperature, sample_labels(flow, cfg.n, cfg.label))
    classes = classify_samples(levels, cfg.seed) if cfg.classify else {}
    metrics = {
        "checkpoint": str(cfg.ckpt),
        "n": cfg.n,
        "temperature": cfg.temperature,
        "label": cfg.label,
        **sampling._asdict(),
        "precision": placement.precision,
        "seed": cfg.seed,
        "n_nan": n_nan,
        "seconds": seconds,
        **classes,
    }
    new_json(metrics_file, metrics)
    print(f"{cfg.n} samples at temperature {cfg.temperature:g} in {seconds:.1f} s: {out}")
    print_classes(classes)


if __name__ == "__main__":
    main()
