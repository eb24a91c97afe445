"""Say what is wrong with a flow, and what to try: ``python -m nf_mnist.diagnose ckpt=FILE``."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import build_dequantizer, load_split
from nf_mnist.app.command import command
from nf_mnist.app.composing import config_dir, instantiate
from nf_mnist.app.output import new_path
from nf_mnist.app.trained import load_trained
from nf_mnist.checkpoints.targets import check_targets
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from nf_mnist.diagnostics import DiagnosisTask, Result

COLORS = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "dim"}


@command("diagnose")
def main(cfg: DictConfig) -> None:
    """Print a verdict for each law, then cause and cure of what is broken; write report.html and report.json."""
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.app.settings import check_ranges, check_split
    from nf_mnist.diagnostics import CHECKS, diagnose
    from nf_mnist.diagnostics.report import page
    from nf_mnist.hardware import keep_freed_memory

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit")  # of torch's own use of it
    check_ranges(cfg)
    check_split(cfg.split)
    out = new_path(cfg.out)
    subject, n_parameters = load_task(cfg)
    keep_freed_memory()
    laws = track(CHECKS.values(), "diagnosing", console=Console(stderr=True))
    verdicts = list(diagnose(subject, laws))
    about = {
        "flow": str(cfg.ckpt or cfg.flow._target_),
        "split": cfg.split,
        "n_images": len(subject.batch.x),
        "seed": cfg.seed,
        "parameters": n_parameters,
    }
    out.mkdir()
    write_text(out / "report.html", page(about, verdicts, pictures(subject)))
    write_json(out / "report.json", {**about, "verdicts": [verdict._asdict() for verdict in verdicts]})
    print_verdicts(verdicts)
    print(f"with pictures: {out / 'report.html'}")


def load_task(cfg: DictConfig) -> "tuple[DiagnosisTask, int]":
    """Load the flow of a checkpoint, or build a user's own, and put it beside the images to look at it with.

    Returns:
        The two, and the number of parameters of the flow and of what learns its dequantization.

    Raises:
        ConfigError: If there is neither a checkpoint nor a flow, both, or an object that is no flow.
        ShapeError: If the images have another shape than the flow's data.
    """
    from nf_mnist.diagnostics import DiagnosisTask, as_flow, make_batch
    from nf_mnist.hardware import resolve_device
    from nf_mnist.metrics import count_parameters

    if (cfg.ckpt is None) == (cfg.flow._target_ is None):
        both = "neither" if cfg.ckpt is None else "both"
        raise ConfigError(f"diagnose needs either ckpt=FILE or flow._target_=MODULE.BUILDER, got {both}")
    device = resolve_device(cfg.device)
    if cfg.ckpt is not None:
        flow, dequantizer, trained, _ = load_trained(cfg.ckpt, cfg.trust, cfg.get("data"))
        data = cfg.get("data") or trained.data
    else:
        data = cfg.get("data") or cast(DictConfig, OmegaConf.load(f"{config_dir()}/data/mnist.yaml"))
        flow = as_flow(_build(cfg), tuple(data.event_shape))
        dequantizer = build_dequantizer(data, OmegaConf.create())
    scored, train = load_split(data, cfg.split)
    if tuple(scored.levels.shape[1:]) != flow.event_shape:
        raise ShapeError(f"this flow takes {flow.event_shape}, the images are {tuple(scored.levels.shape[1:])}")
    flow, dequantizer = flow.to(device), dequantizer.to(device)
    batch, seen = (make_batch(flow, dequantizer, part, cfg.n_images, cfg.seed) for part in (scored, train))
    subject = DiagnosisTask(flow, batch, seen, dequantizer.is_discrete, cfg.batch_size, cfg.seed)
    return subject, count_parameters(flow, dequantizer)


def pictures(subject: "DiagnosisTask") -> dict[str, bytes]:
    """Return the pictures of a report, as PNG files by title; those for which a flow is too broken are left out."""
    import torch

    from nf_mnist.diagnostics import NOISE_SCALES, noise_drop
    from nf_mnist.metrics import moments, random_projection
    from nf_mnist.plots import curve, image_grid, moment_maps, png, projection_scatter, radius_histogram

    flow, few = subject.flow, subject.batch.first(16)

    @torch.no_grad()
    def round_trips() -> torch.Tensor:
        back = flow.decode(flow.encode(few.x, few.context), few.context)
        return image_grid(torch.cat([few.x, back]), columns=len(few.x))

    def sensitivity() -> Any:
        drop = noise_drop(flow, few.x, NOISE_SCALES, subject.seed, few.context)
        return curve(drop.scales, drop.nats_per_dim, "deviation of the noise in x", "fall of log p, nats per dimension")

    views = {
        "Norm of z against the prior's": lambda: radius_histogram(subject.scores.z),
        "Mean and deviation of each dimension of z": lambda: moment_maps(*moments(subject.scores.z)),
        "Samples": lambda: image_grid(subject.samples.x),
        "Images, and what comes back of them": round_trips,
        "How fast log p falls with noise": sensitivity,
        "z on a random plane": lambda: projection_scatter(random_projection(subject.scores.z, subject.seed)),
    }
    drawn = {}
    for title, draw in views.items():
        try:
            drawn[title] = png(draw())
        except Exception:  # a user's flow may fail in any way; the verdicts say how
            continue
    return drawn


def print_verdicts(verdicts: "Sequence[Result]") -> None:
    """Print a table of all verdicts, and below it the cause and the cure of each law that is broken."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("law", "verdict", "figure", "expected"):
        table.add_column(column, overflow="fold", no_wrap=column == "verdict")
    for verdict in verdicts:
        color = COLORS[verdict.status]
        cells = (verdict.law, f"[{color}]{verdict.status}[/]", escape(verdict.figure), verdict.expected)
        table.add_row(*cells)
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)
    broken = [verdict for verdict in verdicts if verdict.cause]
    for verdict in broken:
        console.print(f"[{COLORS[verdict.status]}]{verdict.status}[/] [bold]{verdict.law}[/]")
        console.print(f"  likely cause: {escape(verdict.cause)}", f"  try: {escape(verdict.cure)}", sep="\n")
    if not broken:
        console.print("nothing is wrong with this flow that these laws can see")


def _build(cfg: DictConfig) -> Any:
    """Build a user's own flow, if its target is trusted."""
    from nf_mnist.flows import Flow

    node = OmegaConf.to_container(cfg.flow)
    check_targets({"model": node}, tuple(cfg.trust), "flow")
    built = instantiate(cfg.flow)
    missing = [name for name in ("forward_and_log_det", "inverse_and_log_det") if not hasattr(built, name)]
    if missing and not isinstance(built, Flow):
        lacks = " and no ".join(missing)
        raise ConfigError(f"{cfg.flow._target_} built a {type(built).__name__}, which has no {lacks}")
    return built


if __name__ == "__main__":
    main()
