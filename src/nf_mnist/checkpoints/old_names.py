"""Names that settings, targets and parameters had in earlier versions, which checkpoints and users still have."""

from collections.abc import Mapping
from typing import Any

SETTINGS = {  # full name of a setting of training: its last part today
    "trained": "trainable",
    "model.flow.scale": "scale_activation",
    "model.flow.n_levels": "n_scales",
    "model.flow.trained_on": "training_mask",
}
# The half that is observed was named there; today the one that is hidden is.
OPPOSITE = {"upper": "lower", "lower": "upper", "left": "right", "right": "left"}
TARGETS = {
    "nf_mnist.config.load_classifier": "nf_mnist.app.trained.load_classifier",
    "nf_mnist.training.loggers.LastingCSVLogger": "nf_mnist.training.csv_logger.ResumableCSVLogger",
    "nf_mnist.training.whole_files.WholeFiles": "nf_mnist.training.checkpoint_io.AtomicCheckpointIO",
}
PARAMETERS = {".enter.": (".conv_in.", ".proj_in."), ".leave.": (".conv_out.", ".proj_out.")}


def current_config(config: Any, prefix: str = "") -> Any:
    """Return the configuration of a checkpoint or a run, plain dicts and lists, with the names of today.

    Args:
        config: The configuration, or a part of it.
        prefix: The full name of that part, with a dot after it.
    """
    if isinstance(config, Mapping):
        return {
            SETTINGS.get(f"{prefix}{key}", key): current_config(value, f"{prefix}{key}.")
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(current_config(value, prefix) for value in config)
    if not isinstance(config, str):
        return config
    return OPPOSITE.get(config, config) if prefix == "model.flow.trained_on." else TARGETS.get(config, config)


def current_parameter(name: str, known: Mapping[str, Any]) -> str:
    """Return what a parameter of a checkpoint is called today: the first new name that is ``known``, or its own."""
    candidates = [name.replace(old, new) for old, names in PARAMETERS.items() if old in name for new in names]
    return next((candidate for candidate in candidates if candidate in known), name)
