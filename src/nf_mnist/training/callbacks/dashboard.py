"""What TensorBoard shows of a run as a whole: curves that belong together in one chart, and the run among others."""

from collections.abc import Iterator, Mapping
from typing import Any

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

# Chapter, chart, curves.
CHARTS = {
    "likelihood": {
        "bits per dimension": ["Multiline", ["train/bpd", "val/bpd"]],
        "loss, nats per image": ["Multiline", ["train/loss", "val/loss"]],
    },
    "latents": {
        "norm of z, mean": ["Multiline", ["latent/radius_mean"]],
        "norm of z, deviation": ["Multiline", ["latent/radius_std"]],
        "worst dimension: mean, and deviation less 1": ["Multiline", ["latent/worst_mean", "latent/worst_std"]],
    },
    "health": {"broken laws": ["Multiline", ["health/warnings", "health/failures"]]},
}
# The columns of the HParams tab: a run's figures, of which the last value counts, and settings that begin so.
FIGURES = ("best/val_bpd", "val/bpd", "val/loss", "latent/radius_mean", "health/failures", "inpaint/squared_error")
SETTINGS = (
    "name",
    "seed",
    "model.",
    "data.",
    "optimizer.",
    "scheduler.",
    "trainer.max_",
    "trainer.precision",
    "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches",
)
NO_SETTINGS = ("_target_", "_partial_", "source", "event_shape")
SHOWN_FIRST = ("data.batch_size", "model.norm", "name", "optimizer.lr", "seed")


def write_dashboard(writer: SummaryWriter, config: Mapping[str, Any]) -> None:
    """Write the layout of the custom scalars tab, and a row of the HParams tab.

    The row holds settings and names of figures alone; TensorBoard looks their values up among the scalars of the run,
    so that a run shows up from its start, and figures are there as soon as they have been logged.

    Args:
        writer: Of the run.
        config: The whole resolved configuration of the run.
    """
    writer.add_custom_scalars(CHARTS)
    settings = {key: value for key, value in _settings(config) if key.startswith(SETTINGS)}
    columns, *row = hparams(settings, dict.fromkeys(FIGURES))
    for summary in (_sorted(columns), *row):
        writer._get_file_writer().add_summary(summary)


def _settings(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, int | float | str]]:
    """Yield settings under their names on the command line; those that are null have none."""
    for key, value in node.items():
        if key in NO_SETTINGS or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            yield f"{prefix}{key}", value if is_number else str(value)


def _sorted(columns: Any) -> Any:
    """Mark the columns to be shown first as those that differ between runs, which TensorBoard puts first."""
    plugin_data = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin_data.content)
    for column in content.experiment.hparam_infos:
        column.differs = column.name in SHOWN_FIRST
    plugin_data.content = content.SerializeToString()
    return columns
