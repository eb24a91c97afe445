"""What the riddles share: their headers, and trainings in this process."""

import functools
import math
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning as L
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import build_datamodule, build_module, build_trainer, load_split
from nf_mnist.app.composing import config_dir, register_resolvers
from nf_mnist.app.trained import load_trained
from nf_mnist.data import Dequantizer, Images
from nf_mnist.diagnostics import DiagnosisTask, make_batch
from nf_mnist.errors import DivergenceError
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim
from nf_mnist.training.module import FlowModule

SEED = 0
VIEWS = ("best", "last", "timer", "progress", "samples", "radius", "moments", "projection", "round_trip", "inpainting")
QUIET = [
    *(f"callbacks.{view}=null" for view in (*VIEWS, "health")),
    "logger.tensorboard=null",
    "logger.csv=null",
    "trainer.accelerator=cpu",
    "+trainer.enable_checkpointing=false",
    "+trainer.enable_progress_bar=false",
]


class Riddle(NamedTuple):
    """A file of ``conf/experiment``: its name, the fields of its header, and the overrides of the cured run."""

    name: str
    fields: dict[str, str]
    cure: list[str]


class Outcome(NamedTuple):
    """What a riddle came to: ``confirmed``, ``refuted`` or ``partly``; the metrics in words; all metrics."""

    verdict: str
    found: str
    metrics: dict[str, Any]


class Run(NamedTuple):
    """A training.

    Attributes:
        flow: In evaluation mode.
        dequantizer: That of the training.
        validation: Images.
        train: Images.
        losses: In nats, of each training step.
        curve: Validation loss in nats after so many steps.
        error: What ended it early; empty if nothing did.
    """

    flow: Flow
    dequantizer: Dequantizer
    validation: Images
    train: Images
    losses: Sequence[float] = ()
    curve: Mapping[int, float] = MappingProxyType({})
    error: str = ""

    @property
    def loss(self) -> float:
        """The last validation loss in nats."""
        return list(self.curve.values())[-1]

    @property
    def bpd(self) -> float:
        """The same in bits per dimension, where the data have them."""
        return bits_per_dim(-self.loss, 0.0, self.flow.dims)

    def subject(self, n: int = 300) -> DiagnosisTask:
        """Return the flow beside n validation images, for laws and measures."""
        batch, train = (
            make_batch(self.flow, self.dequantizer, part, n, SEED) for part in (self.validation, self.train)
        )
        return DiagnosisTask(self.flow, batch, train, self.dequantizer.is_discrete, seed=SEED)


class Record(L.Callback):
    """Keeps the losses of a training."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.curve: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.curve[trainer.global_step] = trainer.callback_metrics["val/loss"].item()


def riddles() -> dict[int, Riddle]:
    """Return the riddles by number."""
    files = sorted((Path(config_dir()) / "experiment").glob("riddle_[0-9]*.yaml"))
    return {int(path.stem.split("_")[1]): _read(path) for path in files}


def train(name: str, overrides: Sequence[str] = (), prepare: Callable[[FlowModule], None] | None = None) -> Run:
    """Train an experiment; one that is the same but for its name is trained once in a process.

    Args:
        name: Of the experiment.
        overrides: Of its configuration.
        prepare: Changes the module before it is trained.
    """
    register_resolvers()
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("train", [f"experiment={name}", *QUIET, *overrides, "name=riddle", "output_dir=.", "run_dir=."])
    return _train(OmegaConf.to_yaml(cfg, resolve=True), prepare)


@functools.cache
def _train(config: str, prepare: Callable[[FlowModule], None] | None) -> Run:
    cfg = DictConfig(OmegaConf.create(config))
    begin, record, error = time.monotonic(), Record(), ""
    data = build_datamodule(cfg)
    data.setup()
    module = build_module(cfg)
    if prepare is not None:
        prepare(module)
    with tempfile.TemporaryDirectory() as folder:
        cfg.trainer.default_root_dir = folder
        trainer = build_trainer(cfg)
        trainer.callbacks.insert(0, record)
        try:
            trainer.fit(module, datamodule=data)
            if trainer.global_step not in record.curve:
                trainer.validate(module, datamodule=data, verbose=False)
        except DivergenceError as divergence:
            error = str(divergence)
    print(f"  {len(record.losses)} steps, {time.monotonic() - begin:.0f} s, {record.curve} {error}", flush=True)
    module.eval().requires_grad_(False)
    return Run(module.flow, module.dequantizer, data.validation, data.train, record.losses, record.curve, error)


@functools.cache
def released(name: str) -> Run:
    """Return released weights beside the data of their training."""
    trained = load_trained(f"pretrained:{name}")
    validation, training = load_split(trained.cfg.data, "validation")
    return Run(trained.flow.requires_grad_(False), trained.dequantizer, validation, training)


def finite(value: Any) -> Any:
    """Return metrics as JSON takes them: what is no finite number is null."""
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> Riddle:
    """Read the header of an experiment: ``# Field: text``, which goes on in lines that are indented by two more."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line]
    text = "\n".join(line[2:] for line in lines).replace("\n  ", " ")
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    command = re.search(rf"experiment={path.stem}(.*)", fields["Cured run"])
    return Riddle(path.stem, fields, command[1].split() if command else [])
