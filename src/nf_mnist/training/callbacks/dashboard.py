"""TensorBoard's view of a whole run: charts of curves that belong together, and a row among other runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from nf_mnist.checkpoints.settings import flattened

# Tags of the curves in each chart, by chapter and chart.
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
    "health": {"failed checks": ["Multiline", ["health/warnings", "health/failures"]]},
}
# The columns of the HParams tab: metrics of a run, of which the last value counts, ...
METRICS = ("best/val_bpd", "val/bpd", "val/loss", "latent/radius_mean", "health/failures", "inpaint/squared_error")
# ... and settings whose names begin with one of these.
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
HIDDEN_SETTINGS = ("_target_", "_partial_", "source", "event_shape", "sha256")
FIRST_COLUMNS = ("data.batch_size", "model.norm", "name", "optimizer.lr", "seed")


def write_dashboard(writer: SummaryWriter, config: Mapping[str, Any]) -> None:
    """Write the layout of the custom scalars tab, and a row of the HParams tab.

    The row holds the settings and only the names of the metrics; TensorBoard looks up their values among the scalars of
    the run. A run therefore appears as soon as it starts, and a metric as soon as it is logged.

    Args:
        writer: The TensorBoard writer of the run.
        config: The resolved configuration of the run.
    """
    writer.add_custom_scalars(CHARTS)
    settings = {key: value for key, value in _settings(config) if key.startswith(SETTINGS)}
    columns, *row = hparams(settings, dict.fromkeys(METRICS))
    for summary in (_with_first_columns(columns), *row):
        writer._get_file_writer().add_summary(summary)


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, int | float | str]]:
    """Yield each setting under its name on the command line; null and hidden settings are left out."""
    for key, value in flattened(config):
        if value is not None and not set(HIDDEN_SETTINGS) & set(key.split(".")):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            yield key, value if is_number else str(value)


def _with_first_columns(columns: Any) -> Any:
    """Mark the first columns as settings that differ between runs; TensorBoard shows those first."""
    plugin_data = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin_data.content)
    for column in content.experiment.hparam_infos:
        column.differs = column.name in FIRST_COLUMNS
    plugin_data.content = content.SerializeToString()
    return columns
