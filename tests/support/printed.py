"""The commands of nf_mnist that documents print, and settings with which each takes seconds."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.composing import config_dir
from tests.support.helpers import compose_config

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SWEEP = {"-m", "--multirun"}
CHECKPOINTS = ("ckpt", "init_from")
RUN_SETTINGS = ["name=x", "run_dir=x"]  # otherwise set by hydra.main

# Settings that a command does not have are left out.
REDUCED = {
    "n": "4",
    "n_images": "4",
    "n_samples": "1",
    "batch_size": "4",
    "samples.n": "8",
    "evaluation.n_images": "4",
    "evaluation.n_draws": "1",
    "method.n_steps": "2",
    "method.n_warmup": "1",
    "method.n_chains": "1",
    "method.thinning": "1",
    "data.batch_size": "4",
    "data.eval_batch_size": "4",
    "trainer.max_steps": "2",
    "trainer.max_epochs": "-1",
    "trainer.limit_val_batches": "1",
    "trainer.accelerator": "cpu",
    "trainer.devices": "1",
    "trainer.num_nodes": "1",
    "callbacks.quality.n_samples": "8",
    "callbacks.statistics.n_batches": "1",
    "callbacks.samples.n_samples": "4",
    "callbacks.health.n_images": "2",
    "callbacks.inpainting.n_images": "2",
    "callbacks.inpainting.n_steps": "2",
    "model.compile": "false",
    "model.flow.n_scales": "2",
    "model.flow.n_steps": "2",
    "model.flow.n_couplings": "2",
    "model.flow.hidden_channels": "16",
    "model.flow.mlp_features": "4",
    "model.flow.hidden_features": "8",
    "model.flow.n_hidden": "1",
    "model.flow.n_blocks": "1",
    "model.flow.n_couplings_at": "[1,1]",
    "model.flow.hidden_channels_at": "[4,4]",
    "model.flow.channels": "4",
    "model.flow.transformer_features": "8",
    "model.flow.transformer_blocks": "1",
    "model.flow.n_autoregressions": "2",
    "model.noise.hidden_channels": "4",
    "classifier.channels": "4",
}


class Printed(NamedTuple):
    """A command: its name and its arguments."""

    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments))


def printed_commands(documents: Iterable[Path] = DOCUMENTS) -> list[Printed]:
    """Return the commands of all documents in order, without repetition."""
    return list(dict.fromkeys(command for path in documents for command in _commands_in(path.read_text())))


def without_sweep(command: Printed) -> list[list[str]]:
    """Return the overrides of a command; for a sweep, those of some jobs that together have every choice."""
    arguments = [text for text in command.arguments if text not in {*SWEEP, "--help"} and not text.startswith("hydra")]
    if SWEEP.isdisjoint(command.arguments):
        return [arguments]
    choices = [_choices(text) for text in arguments]
    n_jobs = max(map(len, choices), default=1)
    return [[of_one[min(job, len(of_one) - 1)] for of_one in choices] for job in range(n_jobs)]


def is_composed(command: Printed) -> bool:
    """Return whether Hydra composes the configuration of a command."""
    return (Path(config_dir()) / f"{command.name}.yaml").exists()


def joined(commands: Iterable[Printed]) -> list[Printed]:
    """Return fewer commands that together have every override, to save time.

    Settings of commands with the same groups and checkpoints are joined, unless a setting would have two values.
    """
    jobs: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for command in commands:
        for overrides in without_sweep(command):
            settings = dict(text.partition("=")[::2] for text in overrides)
            choices = [key for key in settings if key in CHECKPOINTS or (Path(config_dir()) / key).is_dir()]
            alike = jobs.setdefault((command.name, *(f"{key}={settings[key]}" for key in sorted(choices))), [])
            fits = (job for job in alike if all(job.get(key, value) == value for key, value in settings.items()))
            job = next(fits, None)
            if job is None:
                job = {}
                alike.append(job)
            job.update(settings)
    return [
        Printed(name, tuple(f"{key}={value}" for key, value in job.items()))
        for (name, *_), alike in jobs.items()
        for job in alike
    ]


def composed(name: str, overrides: list[str]) -> DictConfig:
    """Compose and resolve the configuration of a command."""
    of_a_run = RUN_SETTINGS if name.startswith("train") else []
    cfg = compose_config([*of_a_run, "output_dir=x", *overrides], name)
    OmegaConf.resolve(cfg)
    return cfg


def reduced(name: str, overrides: list[str]) -> list[str]:
    """Return overrides in which those of :data:`REDUCED` that the command has replace the printed ones.

    A training that starts from released weights keeps the size of their model.
    """
    cfg = composed(name, overrides)
    is_released = str(cfg.get("init_from")).startswith("pretrained:")
    smaller = {
        key: value
        for key, value in REDUCED.items()
        if _has(cfg, key) and not (is_released and key.startswith("model."))
    }
    return [text for text in overrides if text.partition("=")[0] not in smaller] + [
        f"{key}={value}" for key, value in smaller.items()
    ]


def write_digits(path: Path) -> Path:
    """Write 40 random grey images of 28x28 pixels, as a user might have."""
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8))
    return path


def _commands_in(text: str) -> Iterator[Printed]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        found = re.search(r"-m nf_mnist\.(\w+)(.*)", line)
        if found:
            rest = re.split(r"\s(?:&&|\||;|>)", found[2])[0]
            yield Printed(found[1], tuple(shlex.split(rest.replace("NAME", "resflow"), comments=True)))


def _choices(argument: str) -> list[str]:
    override = OverridesParser.create().parse_override(argument)
    if override.is_interval_sweep():
        return [f"{override.get_key_element()}={override.value().start}"]
    if override.is_sweep_override():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [argument]


def _has(cfg: DictConfig, key: str) -> bool:
    node, _, leaf = key.rpartition(".")
    parent = OmegaConf.select(cfg, node) if node else cfg
    return parent is not None and leaf in parent
