"""What the riddles share: what ``riddles.yaml`` says of each, and trainings in this process."""

import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from nf_mnist.training.lookup import all_callbacks
from nf_mnist.training.module import FlowModule

RIDDLES = Path(__file__).parent / "riddles.yaml"
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


@dataclass(frozen=True)
class Riddle:
    """A complaint of the diary, and the experiment that answers it.

    Attributes:
        name: Name of the experiment, ``conf/experiment/NAME.yaml``.
        diary: The complaint, paraphrased.
        belief: What we believed before the run.
        refuted_if: What would refute the belief.
        remedy: Overrides of the training that fix it.
        cured_run: Command of the cured run.
    """

    name: str
    diary: str
    belief: str
    refuted_if: str
    remedy: list[str]
    cured_run: str = ""

    def __post_init__(self) -> None:
        if not self.cured_run:
            command = " ".join(["python -m nf_mnist.train", f"experiment={self.name}", *self.remedy])
            object.__setattr__(self, "cured_run", command)


class Outcome(NamedTuple):
    """The outcome of a riddle.

    Attributes:
        result: ``confirmed``, ``refuted`` or ``partly``.
        found: The main metrics, in words.
        metrics: All metrics, as ``results/riddles.json`` keeps them.
    """

    result: str
    found: str
    metrics: dict[str, Any]


class Run(NamedTuple):
    """A training.

    Attributes:
        flow: The trained flow, in evaluation mode.
        dequantizer: The dequantizer that it was trained with.
        validation: Validation images.
        train: Training images.
        losses: Loss of each training step, in nats.
        curve: Validation loss in nats, by the number of training steps before it.
        error: Message of the error that ended the training early, or empty.
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
        """The last validation loss in bits per dimension, for data that have them."""
        return bits_per_dim(-self.loss, 0.0, self.flow.dims)

    def task(self, n: int = 300) -> DiagnosisTask:
        """Return the flow with n validation images, for checks and metrics."""
        batch, train = (
            make_batch(self.flow, self.dequantizer, part, n, SEED) for part in (self.validation, self.train)
        )
        return DiagnosisTask(self.flow, batch, train, self.dequantizer.is_discrete, seed=SEED)


class Record(L.Callback):
    """Record the losses of a training."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.curve: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.curve[trainer.global_step] = trainer.callback_metrics["val/loss"].item()


def riddles() -> dict[int, Riddle]:
    """Return the riddles of ``riddles.yaml`` by number."""
    entries: Any = OmegaConf.to_container(OmegaConf.load(RIDDLES))
    return {number: Riddle(**fields) for number, fields in entries.items()}


def train(name: str, overrides: Sequence[str] = (), prepare: Callable[[FlowModule], None] | None = None) -> Run:
    """Train an experiment; a process trains experiments that differ in nothing but the name only once.

    Args:
        name: Name of the experiment.
        overrides: Overrides of its configuration.
        prepare: Function that changes the module before it is trained.
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
        all_callbacks(trainer).insert(0, record)
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
    """Return released weights with the data that they were trained on."""
    trained = load_trained(f"pretrained:{name}")
    validation, training = load_split(trained.cfg.data, "validation")
    return Run(trained.flow.requires_grad_(False), trained.dequantizer, validation, training)
