"""The command ``diagnose``: loads the flow to be diagnosed, prints the results of the checks, and writes the report."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nf_mnist.app.building import build_dequantizer, build_flow, load_split
from nf_mnist.app.composing import config_dir
from nf_mnist.app.output import new_folder
from nf_mnist.app.own_builders import build_own
from nf_mnist.app.tables import plain
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.data import Dequantizer
from nf_mnist.diagnostics import DiagnosisTask, Result, answer, as_flow, make_batch
from nf_mnist.diagnostics.report.html import page
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.hardware import resolve_device
from nf_mnist.metrics import count_parameters

COLORS = {"usual": "dim", "pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
REBUILT_WITHIN = 10.0  # seconds within which a flow must be built to be built a second time
WIDTH = 160  # columns of the table when the output is no terminal


class Loaded(NamedTuple):
    """A flow that is loaded to be diagnosed.

    Attributes:
        task: The flow and its images.
        n_parameters: Number of parameters of the flow and its dequantizer.
        cfg: The configuration of the training run; None for a user's own flow.
    """

    task: DiagnosisTask
    n_parameters: int
    cfg: DictConfig | None


def load_diagnosis_task(cfg: DictConfig) -> Loaded:
    """Load the flow of a checkpoint, or build the user's own, and load the images to diagnose it with.

    Args:
        cfg: Settings as in ``conf/diagnose.yaml``.

    Raises:
        ConfigError: If neither a checkpoint nor a flow is given, if both are, or if what is built is not a flow.
        ShapeError: If the images do not have the shape that the flow takes.
    """
    device = resolve_device(cfg.device)
    built = _load_flow(cfg)
    flow, dequantizer = built.flow, built.dequantizer
    scored, train = load_split(built.data, cfg.split)
    if tuple(scored.levels.shape[1:]) != flow.event_shape:
        raise ShapeError(f"this flow takes {flow.event_shape}, the images are {tuple(scored.levels.shape[1:])}")
    flow, dequantizer = flow.to(device), dequantizer.to(device)
    batch, seen = (make_batch(flow, dequantizer, images, cfg.n_images, cfg.seed) for images in (scored, train))
    is_discrete, is_in_unit_interval = dequantizer.is_discrete, dequantizer.is_in_unit_interval
    task = DiagnosisTask(
        flow,
        batch,
        seen,
        is_discrete,
        cfg.batch_size,
        cfg.seed,
        is_in_unit_interval,
        rebuild=built.rebuild,
        sets=(scored.levels, train.levels),
    )
    return Loaded(task, count_parameters(flow, dequantizer), built.cfg)


def write_report(
    folder: Path,
    about: Mapping[str, Any],
    results: Sequence[Result],
    task: DiagnosisTask,
    commands: Mapping[str, str],
) -> Path:
    """Make a folder and write ``report.html``, with pictures, and ``report.json`` into it.

    Args:
        folder: The folder, which must not exist yet.
        about: What was diagnosed, by name.
        results: Results in the order of the checks.
        task: The flow and the images that the pictures show.
        commands: What :func:`~nf_mnist.app.cures.cure_commands` returns.

    Returns:
        The folder.
    """
    from nf_mnist.diagnostics.report.pictures import report_pictures  # imports torchvision and matplotlib

    pictures = report_pictures(task)
    with new_folder(folder) as made:
        write_text(made / "report.html", page(about, results, pictures, commands))
        rows = [{**result._asdict(), "command": commands.get(result.check, "")} for result in results]
        write_json(made / "report.json", {**about, "answer": answer(results), "results": rows})
    return made


def print_results(results: Sequence[Result], commands: Mapping[str, str], console: Console | None = None) -> None:
    """Print the answer, a table of all results, and the cause and the remedy of each violation, usual ones last.

    Args:
        results: Results in the order of the checks.
        commands: What :func:`~nf_mnist.app.cures.cure_commands` returns.
        console: Where to print; None for the output of this process.
    """
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=WIDTH)
    console.print(*plain(answer(results)))
    console.print(_table(results))
    violations = [result for result in results if result.cause]
    for result in sorted(violations, key=lambda result: result.is_usual):
        console.print(_colored("usual" if result.is_usual else result.status), Text(result.check, "bold"))
        sure = "cause" if result.is_shown else "possible cause"
        console.print(*plain(f"  {sure}: {result.cause}", f"  try: {result.remedy}"), sep="\n")
        if result.check in commands:
            console.print(*plain(f"  as a command: {commands[result.check]}"), soft_wrap=True)


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


class _Built(NamedTuple):
    """The flow to diagnose, its dequantizer, the node of the images, how to build it anew, and its configuration."""

    flow: Flow
    dequantizer: Dequantizer
    data: DictConfig
    rebuild: Callable[[], Flow] | None
    cfg: DictConfig | None


def _load_flow(cfg: DictConfig) -> _Built:
    if (cfg.ckpt is None) == (cfg.flow._target_ is None):
        given = "neither" if cfg.ckpt is None else "both"
        raise ConfigError(f"diagnose needs either ckpt=FILE or flow._target_=MODULE.BUILDER, got {given}")
    if cfg.ckpt is not None:
        trained = load_trained(cfg.ckpt, cfg.trust, cfg.get("data"))
        data = cfg.get("data") or trained.cfg.data
        return _Built(trained.flow, trained.dequantizer, data, lambda: build_flow(trained.cfg.model), trained.cfg)
    data = cfg.get("data") or cast(DictConfig, OmegaConf.load(f"{config_dir()}/data/mnist.yaml"))
    shape = tuple(data.event_shape)
    began = time.monotonic()
    flow = as_flow(build_own(cfg.flow, tuple(cfg.trust)), shape)
    is_quick = time.monotonic() - began < REBUILT_WITHIN
    rebuild = (lambda: as_flow(build_own(cfg.flow, tuple(cfg.trust)), shape)) if is_quick else None
    return _Built(flow, build_dequantizer(data, OmegaConf.create()), data, rebuild, None)
