"""TensorBoard of finished runs: what is written for its tabs, and the tabs themselves in a browser."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from nf_mnist.training.callbacks.dashboard import CHARTS, METRICS
from tests.support.helpers import VIEWS, run_command, tiny_overrides, write_images

RATE, OTHER_RATE = 1e-3, 2e-3
HEADING = "tf-category-paginated-view"  # of the cards of one group
SCALARS = ("train", "val", "latent", "inpaint", "health")


def train(folder: Path, rate: float, views: Sequence[str], *settings: str) -> Path:
    """Train for a few steps; return the folder that TensorBoard reads."""
    images = write_images(folder / "images.npz")
    overrides = [*tiny_overrides(images, folder / f"rate_{rate}", views=views), "evaluation=null", *settings]
    finished = run_command("train", *overrides, f"optimizer.lr={rate}", "callbacks.progress.every_n_steps=1")
    assert finished.code == 0, finished.err
    return folder / f"rate_{rate}" / "tensorboard"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> EventAccumulator:
    views = ("radius", "moments", "inpainting")
    few = ("trainer.max_steps=2", "trainer.log_every_n_steps=1", "callbacks.inpainting.n_steps=2")
    return EventAccumulator(str(train(tmp_path_factory.mktemp("run"), RATE, views, *few))).Reload()


def test_charts_are_of_curves_that_the_run_has(written):
    (event,) = written.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(CHARTS)
    for category in layout.category:
        for chart in category.chart:
            assert set(chart.multiline.tag) <= set(written.Tags()["scalars"]), chart.title


def test_a_run_is_a_row_of_settings_and_metrics(written):
    plugin = written.PluginTagToContent("hparams")
    row = HParamsPluginData.FromString(plugin["_hparams_/session_start_info"]).session_start_info.hparams
    assert row["optimizer.lr"].number_value == RATE
    assert row["model.flow.scale_activation"].string_value == "tanh"
    assert row["data.count_log_det"].string_value == "True"
    assert row["name"].string_value == "tiny"
    assert not any("_target_" in key or "source" in key or "dir" in key for key in row), "settings, and no files"
    columns = HParamsPluginData.FromString(plugin["_hparams_/experiment"]).experiment.metric_infos
    assert [column.name.tag for column in columns] == list(METRICS)
    assert {column.name.tag for column in columns} <= set(written.Tags()["scalars"])


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    pytest.importorskip("selenium")
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        pytest.skip("there is no chromium with its driver")
    screenshots = pytest.importorskip("tools.screenshots")
    runs = tmp_path_factory.mktemp("runs")
    for rate in (RATE, OTHER_RATE):
        train(runs, rate, VIEWS, "trainer.max_steps=6", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1")
    with screenshots.Dashboard(runs) as dashboard:
        yield dashboard


@pytest.mark.browser
@pytest.mark.parametrize(
    ("tab", "selector", "texts"),
    [
        ("timeseries", "metrics-card-group-toolbar", (*SCALARS, "samples")),
        ("scalars", HEADING, SCALARS),
        ("custom_scalars", HEADING, tuple(CHARTS)),
        ("images", HEADING, ("samples", "latent/radius_against_chi", "inpaint/lower")),
        ("distributions", HEADING, ("latent/radius",)),
        ("histograms", HEADING, ("latent/radius",)),
        ("text", "table", ("check", "result", "likely cause")),
        (
            "hparams",
            "vaadin-grid-cell-content",
            ("optimizer.lr", "data.batch_size", "best/val_bpd", f"{OTHER_RATE:.4f}"),
        ),
    ],
)
def test_a_tab_is_filled(tab, selector, texts, dashboard, tmp_path):
    dashboard.open(tab)
    for _ in range(20):  # rows and cards come one after another
        shown = "\n".join(dashboard.find(selector))
        missing = [text for text in texts if text not in shown]
        if not missing:
            break
        time.sleep(0.5)
    assert missing == []
    dashboard.save(Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"{tab}.png")
