"""Training as a call, for notebooks and scripts: ``nf_mnist.train("resflow", max_time="00:00:01:00")``."""

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nf_mnist.app.command import prepare
from nf_mnist.app.composing import compose_command
from nf_mnist.app.messages import one_line
from nf_mnist.app.settings import check_names
from nf_mnist.app.trained import Trained, load_trained
from nf_mnist.app.translation import translated
from nf_mnist.checkpoints.writing import atomic_write
from nf_mnist.data import Images, own_images, write_arrays
from nf_mnist.errors import ConfigError, NFMnistError
from nf_mnist.overrides import override, pasteable
from nf_mnist.runs.record import RECORD_FILE
from nf_mnist.runs.training_run import run_training

IMAGES_FILE = "images.npz"
# A measurement of seconds; that of the command takes minutes, and looks at the test images.
MEASUREMENT = ("evaluation.split=validation", "evaluation.n_images=1000", "evaluation.n_draws=2")


def train_flow(
    model: str | None = None,
    *overrides: str,
    images: Any = None,
    labels: Any = None,
    max_time: str | None = None,
    max_steps: int | None = None,
    **settings: Any,
) -> Trained:
    """Train a flow in this process, with a progress bar, and return it.

    All settings are those of the command ``python -m nf_mnist.train``, whose ``--help`` lists them. Afterwards the best
    checkpoint is measured on 1,000 validation images; the settings of ``evaluation`` change that, and
    ``evaluation=None`` leaves it out. The run has a folder, ``trained.cfg.run_dir``, with its checkpoints and metrics.

    Args:
        model: Name of a model, a file in ``conf/model``; None for that of the experiment, or for ``resflow``.
        *overrides: Settings as on a command line, such as ``optimizer.lr=1e-3``.
        images: Images of your own in place of MNIST's, an array or a tensor; of the kinds that
            :func:`~nf_mnist.data.array_file` reads. They are kept in the folder of the run.
        labels: Their class labels, shape (n,), or None.
        max_time: Budget of time, ``DD:HH:MM:SS``.
        max_steps: Budget of steps.
        **settings: Settings by name, such as ``experiment="quickstart"``, ``seed=1``, or ``optimizer={"lr": 1e-3}``.

    Returns:
        The flow with the least validation loss, in evaluation mode on the CPU, and what belongs to it.

    Raises:
        NFMnistError: In one line: if a setting is refused, or the training diverges.
    """
    try:
        given = [*MEASUREMENT, *_overrides(model, overrides, {"max_time": max_time, "max_steps": max_steps}, settings)]
        check_names(given)
        if images is None and labels is None:
            return _trained(given)
        return _trained_on(own_images(images, labels), given)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from None
    except Exception as error:
        known = None if isinstance(error, NFMnistError) else translated(error)
        if known is None:
            raise
        raise known from error


def _overrides(
    model: object, overrides: Iterable[object], budgets: Mapping[str, object], settings: Mapping[str, object]
) -> Iterator[str]:
    """Yield the arguments of a call as they would be written on a command line."""
    if model is not None:
        if not isinstance(model, str):
            raise ConfigError(f"a model is given by its name, such as 'resflow', got a {type(model).__name__}")
        yield override("model", model)
    for text in overrides:
        if not isinstance(text, str) or "=" not in text:
            raise ConfigError(f"settings after the model are texts such as 'optimizer.lr=1e-3', got {text!r}")
        yield text
    yield from _settings({"trainer": {name: value for name, value in budgets.items() if value is not None}})
    yield from _settings(settings)


def _settings(values: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yield a setting for each value; those of an inner dictionary belong to a part, as in ``optimizer.lr``."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _settings(value, f"{key}.")
        elif isinstance(value, str | Path):
            yield override(key, value)
        else:
            try:
                yield f"{key}={json.dumps(value)}"
            except (TypeError, ValueError):
                raise ConfigError(
                    f"{key} must be a text, a number, True, False, None or a list, got a {type(value).__name__}"
                ) from None


def _trained(overrides: Sequence[str]) -> Trained:
    cfg = compose_command("train", overrides)
    if cfg.rerun is not None:
        raise ConfigError(f"runs are repeated by the command: python -m nf_mnist.train {pasteable('rerun', cfg.rerun)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        prepare(cfg, "train")
        run_training(cfg, overrides)
    return load_trained(Path(cfg.run_dir) / "checkpoints" / "best.ckpt", cfg.trust)


def _trained_on(images: Images, overrides: Sequence[str]) -> Trained:
    """Train on images of the user's own, which are kept in the folder of the run, so that every command finds them."""
    data = next((text for text in overrides if text.startswith(("data=", "path="))), None)
    if data is not None:
        raise ConfigError(f"images= and {data} both name the images; give one of them")
    run_dir = Path(compose_command("train", overrides).run_dir)
    path = run_dir / IMAGES_FILE
    if path.exists():
        raise ConfigError(f"{path} exists already; choose another output_dir")
    atomic_write(path, lambda file: write_arrays(images, file))
    try:
        return _trained([*overrides, "data=array", override("path", path), override("output_dir", run_dir)])
    finally:
        if not (run_dir / RECORD_FILE).exists():  # the training was refused
            path.unlink()
            with contextlib.suppress(OSError):  # the folder was there before
                run_dir.rmdir()
