"""The command ``diagnose``: loads the flow to be diagnosed, prints the results of the checks, and writes the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nf_mnist.app.building import build_dequantizer, load_split
from nf_mnist.app.composing import config_dir, instantiate
from nf_mnist.app.output import new_folder
from nf_mnist.app.tables import plain
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.targets import check_targets
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.data import Dequantizer
from nf_mnist.diagnostics import DiagnosisTask, Result, as_flow, make_batch
from nf_mnist.diagnostics.report import page
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.hardware import resolve_device
from nf_mnist.metrics import count_parameters

COLORS = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
WIDTH = 160  # columns of the table when the output is no terminal


def load_diagnosis_task(cfg: DictConfig) -> tuple[DiagnosisTask, int]:
    """Load the flow of a checkpoint, or build the user's own, and load the images to diagnose it with.

    Args:
        cfg: Settings as in ``conf/diagnose.yaml``.

    Returns:
        The task, and the number of parameters of the flow and its dequantizer.

    Raises:
        ConfigError: If neither a checkpoint nor a flow is given, if both are, or if what is built is not a flow.
        ShapeError: If the images do not have the shape that the flow takes.
    """
    device = resolve_device(cfg.device)
    flow, dequantizer, data = _load_flow(cfg)
    scored, train = load_split(data, cfg.split)
    if tuple(scored.levels.shape[1:]) != flow.event_shape:
        raise ShapeError(f"this flow takes {flow.event_shape}, the images are {tuple(scored.levels.shape[1:])}")
    flow, dequantizer = flow.to(device), dequantizer.to(device)
    batch, seen = (make_batch(flow, dequantizer, images, cfg.n_images, cfg.seed) for images in (scored, train))
    is_discrete, is_in_unit_interval = dequantizer.is_discrete, dequantizer.is_in_unit_interval
    task = DiagnosisTask(flow, batch, seen, is_discrete, cfg.batch_size, cfg.seed, is_in_unit_interval)
    return task, count_parameters(flow, dequantizer)


def write_report(folder: Path, about: Mapping[str, Any], results: Sequence[Result], task: DiagnosisTask) -> Path:
    """Make a folder and write ``report.html``, with pictures, and ``report.json`` into it.

    Args:
        folder: The folder, which must not exist yet.
        about: What was diagnosed, by name.
        results: Results in the order of the checks.
        task: The flow and the images that the pictures show.

    Returns:
        The folder.
    """
    from nf_mnist.diagnostics.pictures import report_pictures  # imports torchvision and matplotlib

    pictures = report_pictures(task)
    with new_folder(folder) as made:
        write_text(made / "report.html", page(about, results, pictures))
        write_json(made / "report.json", {**about, "results": [result._asdict() for result in results]})
    return made


def print_results(results: Sequence[Result]) -> None:
    """Print a table of all results, and below it the cause and the remedy of each violation."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_table(results))
    violations = [result for result in results if result.cause]
    for result in violations:
        console.print(_colored(result.status), Text(result.check, "bold"))
        console.print(*plain(f"  likely cause: {result.cause}", f"  try: {result.remedy}"), sep="\n")
    if not violations:
        console.print("nothing is wrong with this flow that these checks can see")


def _table(results: Sequence[Result]) -> Table:
    table = Table()
    for column in ("check", "result", "measured", "expected"):
        table.add_column(column, overflow="fold", no_wrap=column == "result")
    for result in results:
        check, measured, expected = plain(result.check, result.measured, result.expected)
        table.add_row(check, _colored(result.status), measured, expected)
    return table


def _colored(status: str) -> Text:
    return Text(status, COLORS[status])


def _load_flow(cfg: DictConfig) -> tuple[Flow, Dequantizer, DictConfig]:
    """Return the flow to diagnose, its dequantizer, and the ``data`` node of the images."""
    if (cfg.ckpt is None) == (cfg.flow._target_ is None):
        given = "neither" if cfg.ckpt is None else "both"
        raise ConfigError(f"diagnose needs either ckpt=FILE or flow._target_=MODULE.BUILDER, got {given}")
    if cfg.ckpt is not None:
        trained = load_trained(cfg.ckpt, cfg.trust, cfg.get("data"))
        return trained.flow, trained.dequantizer, cfg.get("data") or trained.cfg.data
    data = cfg.get("data") or cast(DictConfig, OmegaConf.load(f"{config_dir()}/data/mnist.yaml"))
    return as_flow(_build(cfg), tuple(data.event_shape)), build_dequantizer(data, OmegaConf.create()), data


def _build(cfg: DictConfig) -> Any:
    """Build the user's own flow, if the module of its target is trusted."""
    check_targets({"model": OmegaConf.to_container(cfg.flow)}, tuple(cfg.trust), "flow")
    built = instantiate(cfg.flow)
    missing = [name for name in ("forward_and_log_det", "inverse_and_log_det") if not hasattr(built, name)]
    if missing and not isinstance(built, Flow):
        lacks = " and no ".join(missing)
        raise ConfigError(f"{cfg.flow._target_} built a {type(built).__name__}, which has no {lacks}")
    return built
