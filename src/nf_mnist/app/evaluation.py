"""A flow, the images to measure it on, and what is measured: likelihood, samples, other images told from its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import load_split
from nf_mnist.app.composing import config_dir, instantiate
from nf_mnist.app.trained import load_classifier, load_trained
from nf_mnist.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from nf_mnist.data import Dequantizer, Images
    from nf_mnist.flows import Flow
    from nf_mnist.metrics import TemperatureScan


class EvaluationTask(NamedTuple):
    """A flow, the images of a split to measure it on, its training images, and the settings of the evaluation.

    ``record`` says what training the flow cost.
    """

    flow: "Flow"
    dequantizer: "Dequantizer"
    images: "Images"
    train: "Images"
    settings: dict[str, Any]
    record: dict[str, Any]


class EvaluatedFlow(NamedTuple):
    """Metrics by name, their unit, those of each image, shape (n_images,), and latents, shape (n_images, dims)."""

    metrics: dict[str, Any]
    unit: str
    per_image: "dict[str, Tensor]"
    latents: "Tensor"


def evaluate_checkpoint(path: str | Path, evaluation: Mapping[str, Any]) -> EvaluatedFlow:
    """Load a checkpoint and measure it on one split of the data of its training run, as :func:`evaluate_task`."""
    return evaluate_task(load_task(path, evaluation))


def load_task(
    path: str | Path,
    evaluation: Mapping[str, Any],
    data: DictConfig | None = None,
    trust: Sequence[str] = (),
    device: str = "auto",
) -> EvaluationTask:
    """Load a checkpoint and the images to measure it on.

    Args:
        path: The checkpoint.
        evaluation: Settings as in ``conf/train.yaml``; what is null is as in the training run.
        data: A data node; None for that of the training run.
        trust: Packages besides nf_mnist whose targets the checkpoint may name.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    from nf_mnist.app.settings import check_split
    from nf_mnist.hardware import resolve_device

    trained = load_trained(path, trust, data)
    settings = {
        **(trained.cfg.evaluation or {}),
        **{key: value for key, value in evaluation.items() if value is not None},
    }
    missing = {"split", "n_draws", "batch_size", "seed"} - settings.keys()
    if missing:
        raise ConfigError(f"{path} was trained with evaluation=null; say {' and '.join(sorted(missing))}")
    check_split(settings["split"])
    chosen, train = load_split(data or trained.cfg.data, settings["split"])
    on = resolve_device(device)
    return EvaluationTask(trained.flow.to(on), trained.dequantizer.to(on), chosen, train, settings, trained.record)


def evaluate_task(subject: EvaluationTask) -> EvaluatedFlow:
    """Measure a flow on the images of one split.

    Returns:
        The metrics of :func:`~nf_mnist.diagnostics.evaluate_flow` and the name of the split; what their log-likelihood
        is the likelihood of; the metrics of each image; the latents.
    """
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.hardware import keep_freed_memory
    from nf_mnist.metrics import evaluate_flow, likelihood_unit

    settings = subject.settings
    keep_freed_memory()
    metrics, per_image, latents = evaluate_flow(
        subject.flow,
        subject.dequantizer,
        subject.images,
        n_images=settings.get("n_images"),
        n_draws=settings["n_draws"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=lambda passes: track(
            passes, f"evaluating on {settings['split']} images", console=Console(stderr=True)
        ),
    )
    unit = likelihood_unit(subject.flow, subject.dequantizer)
    return EvaluatedFlow({"split": settings["split"], **metrics}, unit, per_image, latents)


def load_ood_images(name: str, subject: EvaluationTask) -> "Images":
    """Return images that are to be told from those of a subject.

    Args:
        name: A set of ``conf/data``, of which the test images are taken; one of
            :data:`~nf_mnist.diagnostics.SYNTHETIC_OOD`, made of the subject's images; or an ``.npz`` as for ``data=array``.
        subject: The flow and its own images.

    Raises:
        ConfigError: If there is nothing of that name.
        ShapeError: If the images have another shape than the flow's data.
    """
    import torch

    from nf_mnist.data import Images, array_file
    from nf_mnist.metrics import SYNTHETIC_OOD

    files = {path.stem: OmegaConf.load(path) for path in sorted(Path(config_dir(), "data").glob("*.yaml"))}
    sources = {stem: node.source for stem, node in files.items() if "source" in node}
    if name.endswith(".npz"):
        parts = array_file(name, 0.5, 0)
        other = Images(*(torch.cat(part) for part in zip(*parts, strict=True)))
    elif name in sources:
        other = instantiate(sources[name]).test
    elif name in SYNTHETIC_OOD:
        generator = torch.Generator().manual_seed(subject.settings["seed"])
        other = subject.images._replace(levels=SYNTHETIC_OOD[name](subject.images.levels, generator))
    else:
        known = ", ".join([*sources, *SYNTHETIC_OOD])
        raise ConfigError(f"unknown ood_data={name}; choose one of {known}, or an .npz file of images")
    expected, found = subject.flow.event_shape, tuple(other.levels.shape[1:])
    if found != expected:
        raise ShapeError(f"this flow takes {expected}, the images of ood_data={name} are {found}")
    return other


def evaluate_ood(subject: EvaluationTask, measured: EvaluatedFlow, name: str, other: "Images") -> dict[str, Any]:
    """Measure how well other images are told from the subject's; as many are scored, and as many training images.

    Returns:
        Metrics for JSON: ``data``, ``n_images``, ``log_likelihood`` of the other images, and ``auroc`` as
        :class:`~nf_mnist.diagnostics.OutOfDistribution` has it.
    """
    from nf_mnist.metrics import ood_auroc

    n = len(measured.latents)
    parts = {name: other, "training": subject.train}
    of_other, of_training = (
        evaluate_task(
            subject._replace(images=images, settings={**subject.settings, "split": part, "n_images": n})
        ).per_image
        for part, images in parts.items()
    )
    found = ood_auroc(measured.per_image, of_other, of_training)
    log_likelihood = of_other["log_likelihood"]
    return {
        "data": name,
        "n_images": len(log_likelihood),
        "log_likelihood": log_likelihood.mean().item(),
        "auroc": found._asdict(),
    }


def evaluate_samples(subject: EvaluationTask, samples: Mapping[str, Any]) -> "tuple[dict[str, Any], TemperatureScan]":
    """Draw samples at each temperature and measure them, and training images, against images of the split.

    Args:
        subject: A flow of digits.
        samples: Settings as in ``conf/evaluate.yaml``.

    Returns:
        Metrics for :func:`~nf_mnist.app.tables.print_quality` and for JSON, and the sweep that they are of.
    """
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.data import random_subset
    from nf_mnist.metrics import ReferenceImages, alarms, scan_temperatures

    n, seed = samples["n"], samples["seed"]
    images, _ = random_subset(subject.images, n, seed)
    classifier = load_classifier().to(next(subject.flow.parameters()).device)
    measured = scan_temperatures(
        subject.flow,
        ReferenceImages(classifier, images.levels, subject.train.levels),
        samples["temperatures"],
        n,
        batch_size=samples["batch_size"],
        seed=seed,
        progress=lambda temperatures: track(temperatures, "sampling at each temperature", console=Console(stderr=True)),
    )
    rows = zip(measured.temperatures, measured.quality, measured.n_nan, measured.seconds, strict=True)
    spoilt = measured.n_nan[0]
    said = [f"{spoilt:,} of {n:,} samples have pixels that are no number, drawn black"] if spoilt else []
    return {
        "split": subject.settings["split"],
        "n_samples": n,
        "n_images": len(images.levels),
        "n_training_images": min(n, len(subject.train.levels)),
        "seed": seed,
        "temperatures": [
            {"temperature": temperature, **found._asdict(), "n_nan": count, "seconds": seconds}
            for temperature, found, count, seconds in rows
        ],
        "best_temperature": measured.temperatures[measured.best],
        "training_images": measured.floor._asdict(),
        "alarms": [*said, *alarms(measured.quality[0], measured.floor)],
    }, measured
