"""Names that settings, targets and parameters had in earlier versions, which checkpoints and users still have."""

from collections.abc import Mapping
from typing import Any

SETTINGS = {
    "trained": "trainable",
    "model.flow.scale": "model.flow.scale_activation",
    "model.flow.n_levels": "model.flow.n_scales",
    "model.flow.trained_on": "model.flow.training_mask",
    "callbacks.skip.most_in_a_row": "callbacks.skip.max_consecutive",
    "against": "ood_data",
}
VALUES = {"corruption=cp3": "corruption=gaussian_noise"}  # of settings that kept their name
RECORDED_VALUES = {  # the present values of settings in the configurations of checkpoints and runs
    # model.flow.trained_on named the half that is observed; model.flow.training_mask names the one that is hidden.
    "model.flow.trained_on": {"upper": "lower", "lower": "upper", "left": "right", "right": "left"},
    "optimizer.adam": {"enter": "conv_in|proj_in", "leave": "conv_out|proj_out"},
}
TARGETS = {
    "nf_mnist.config.load_classifier": "nf_mnist.app.trained.load_classifier",
    "nf_mnist.training.loggers.LastingCSVLogger": "nf_mnist.training.csv_logger.ResumableCSVLogger",
    "nf_mnist.training.whole_files.WholeFiles": "nf_mnist.training.checkpoint_io.AtomicCheckpointIO",
}
PARAMETERS = {".enter.": (".conv_in.", ".proj_in."), ".leave.": (".conv_out.", ".proj_out.")}


def current_config(config: Any, prefix: str = "") -> Any:
    """Return the configuration of a checkpoint or a run, plain dicts and lists, with present names.

    Args:
        config: The configuration, or a part of it.
        prefix: The full name of that part, with a dot after it.
    """
    if isinstance(config, Mapping):
        return {
            _current_key(f"{prefix}{key}", key): current_config(value, f"{prefix}{key}.")
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(current_config(value, prefix) for value in config)
    if not isinstance(config, str):
        return config
    return RECORDED_VALUES.get(prefix.removesuffix("."), TARGETS).get(config, config)


def _current_key(setting: str, key: Any) -> Any:
    return SETTINGS[setting].rpartition(".")[2] if setting in SETTINGS else key


def current_parameter(name: str, known: Mapping[str, Any]) -> str:
    """Return the present name of a parameter of a checkpoint: the first new name that is ``known``, or its own."""
    candidates = [name.replace(old, new) for old, names in PARAMETERS.items() if old in name for new in names]
    return next((candidate for candidate in candidates if candidate in known), name)
