"""Measure a trained flow: ``python -m nf_mnist.evaluate ckpt=FILE``."""

import time

from omegaconf import DictConfig

from nf_mnist.app.classification import check_classification, classification_rows, classify_images
from nf_mnist.app.command import command
from nf_mnist.app.evaluation import evaluate_task, load_evaluation_task, new_per_image_paths, write_per_image
from nf_mnist.app.out_of_distribution import evaluate_ood, load_ood_images
from nf_mnist.app.output import new_figure_path, new_json, new_path, write_figure
from nf_mnist.app.sample_quality import check_quality, evaluate_samples, plot_temperatures
from nf_mnist.app.settings import NULLABLE_IN_EVALUATE, check_ranges
from nf_mnist.app.tables import metric_rows, ood_rows, print_metrics, print_quality
from nf_mnist.checkpoints.writing import write_json

PLOTS = ("radius_plot", "temperature_plot")


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the metrics of a checkpoint and write them as JSON."""
    check_ranges(cfg, NULLABLE_IN_EVALUATE)
    out = new_path(cfg.out)
    per_image = None if cfg.per_image is None else new_per_image_paths(str(cfg.per_image))
    plots = {key: new_figure_path(key, str(cfg[key])) for key in PLOTS if cfg[key] is not None}
    begin = time.monotonic()
    task = load_evaluation_task(cfg.ckpt, cfg.evaluation, cfg.get("data"), cfg.trust, cfg.device)
    check_quality(cfg, task)
    check_classification(cfg, task)
    other = None if cfg.ood_data is None else load_ood_images(str(cfg.ood_data), task)
    evaluated = evaluate_task(task)
    metrics = {"checkpoint": str(cfg.ckpt), "unit": evaluated.unit, "training": task.record, **evaluated.metrics}
    if other is not None:
        metrics["ood"] = evaluate_ood(task, evaluated, str(cfg.ood_data), other)
    if cfg.classify:
        metrics["classification"] = classify_images(task)
    out = new_json(out, metrics)  # before anything else that can fail: likelihoods may have taken hours
    if per_image is not None:
        write_per_image(per_image, task.images, evaluated)
    rows = {**ood_rows(metrics.get("ood")), **classification_rows(metrics.get("classification"))}
    rows |= {"time": f"{time.monotonic() - begin:.0f} s", "metrics": str(out)}
    print_metrics({**metric_rows(evaluated.metrics, evaluated.unit), **rows})
    if cfg.quality:
        metrics["quality"], scan = evaluate_samples(task, cfg.samples)
        write_json(out, metrics)
        print_quality(metrics["quality"])
        if "temperature_plot" in plots:
            plot_temperatures(scan, plots["temperature_plot"])
    if "radius_plot" in plots:
        from nf_mnist.plots import radius_histogram  # imports torchvision and matplotlib

        write_figure(plots["radius_plot"], radius_histogram(evaluated.latents))


if __name__ == "__main__":
    main()
