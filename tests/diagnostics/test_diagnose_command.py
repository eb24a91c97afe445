"""``python -m nf_mnist.diagnose``: its files, its output, its refusals; and the health panel of a training."""

import base64
import json
import math
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nf_mnist.bijectors import Bijector, Sequential
from nf_mnist.diagnostics import CHECKS, Result, diagnose
from nf_mnist.diagnostics.report.html import page
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.training.callbacks import LogHealth
from tests.support.diagnosis_tasks import NAMES, task_of_four_numbers
from tests.support.helpers import fit, run_command, tiny_overrides, write_images

PNG = b"\x89PNG\r\n"


class Averaged(Bijector):
    """A user's own map, z = 2x, with a log-determinant that is averaged over the dimensions."""

    def forward_and_log_det(self, x, context=None):
        return (2 * x).flatten(1), x.new_full((len(x),), math.log(2))

    def inverse_and_log_det(self, z, context=None):
        return (z / 2).reshape(-1, 1, 14, 14), -z.new_full((len(z),), math.log(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a finished training in ``run``."""
    folder = tmp_path_factory.mktemp("diagnose")
    images = write_images(folder / "images.npz")
    finished = run_command("train", *tiny_overrides(images, folder / "run"), "trainer.max_steps=4")
    assert finished.code == 0, finished.err
    return folder


@pytest.fixture
def best(folder) -> str:
    return f"ckpt={folder}/run/checkpoints/best.ckpt"


def test_diagnose_prints_the_result_of_each_check_and_writes_a_page_and_json(best, tmp_path):
    finished = run_command("diagnose", best, f"out={tmp_path}/diagnosis", "n_images=10")
    assert finished.code == 0, finished.err
    report = json.loads((tmp_path / "diagnosis" / "report.json").read_text())
    assert [result["check"] for result in report["results"]] == NAMES
    assert (report["split"], report["n_images"]) == ("validation", 10)
    status = {result["check"]: result["status"] for result in report["results"]}
    assert status["log-determinant is that of the Jacobian"] == "pass"
    words = " ".join(re.sub(r"[│┃]", " ", finished.out).split())
    for result in report["results"]:
        assert (result["status"] in ("warn", "fail")) == bool(result["cause"]) == bool(result["remedy"])
        assert result["remedy"] in words
        assert result["command"] in finished.out
    html = (tmp_path / "diagnosis" / "report.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == 6
    assert all(base64.b64decode(picture).startswith(PNG) for picture in pictures)
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!data:)', html), "one file"
    assert {path.name for path in (tmp_path / "diagnosis").iterdir()} == {"report.html", "report.json"}


def test_a_users_own_flow_is_diagnosed(folder, tmp_path):
    given = ["flow._target_=tests.diagnostics.test_diagnose_command.Averaged", "trust=[tests]", "n_images=10"]
    finished = run_command("diagnose", *given, "data=array", f"path={folder}/images.npz", f"out={tmp_path}/diagnosis")
    assert finished.code == 0, "whatever the results"
    report = json.loads((tmp_path / "diagnosis" / "report.json").read_text())
    of_the_code = [one for one in report["results"] if one["check"] != "the sets share no image"]  # tiny ones do
    failed = next(result for result in of_the_code if result["status"] == "fail")
    assert failed["check"] == "log-determinant is that of the Jacobian"
    assert "averaged over the 196 dimensions" in failed["cause"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "either ckpt=FILE or flow._target_=MODULE.BUILDER, got neither"),
        ("{ckpt} flow._target_=some.thing", "got both"),
        ("ckpt=nowhere.ckpt", "nowhere.ckpt"),
        ("flow._target_=tests.diagnostics.test_diagnose_command.Averaged", "trust=[tests]"),
        ("flow._target_=nosuch.build trust=[nosuch]", "nosuch"),
        (
            "flow._target_=nf_mnist.flows.StandardNormal +flow.dims=4",
            "StandardNormal, which has no forward_and_log_det",
        ),
        ("flow._target_=nf_mnist.flows.resflow", "cannot build nf_mnist.flows.resflow"),
        ("{ckpt} split=nosuch", "unknown split 'nosuch'"),
        ("{ckpt} n_images=0", "n_images must be"),
        ("{ckpt} data=mnist", "this flow takes (1, 14, 14)"),
        ("{ckpt} device=nosuch", "unknown device 'nosuch'"),
    ],
)
def test_diagnose_refuses_a_mistake_in_one_line(given, said, best, tmp_path):
    finished = run_command("diagnose", f"output_dir={tmp_path}/run", *given.replace("{ckpt}", best).split())
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert finished.err.startswith("error: ")
    assert said in finished.err
    assert not list(tmp_path.rglob("report.*"))


def test_what_a_flow_says_is_text_and_not_html():
    result = Result("a check", "fail", None, "raises Error: <script>x</script>", "kept", "a & b", "c < d")
    html = page({"flow": "<b>", "n_images": 3}, [result], {"a picture": PNG}, {"a check": "python -m x y='<z>'"})
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert "<code>python -m x y=&#39;&lt;z&gt;&#39;</code>" in html


def test_a_layer_whose_name_is_html_is_escaped_in_the_report():
    class Mixing(Bijector):
        def forward_and_log_det(self, x, context=None):
            return x + x.mean(0), x.new_zeros(len(x))

        def inverse_and_log_det(self, z, context=None):
            return z, z.new_zeros(len(z))

    hostile = type("<img src=x onerror=alert(1)>", (Mixing,), {})()
    layers = Sequential([])
    layers.bijectors.add_module('0"><script>alert(2)</script>', hostile)
    task = task_of_four_numbers(Flow(layers, (4,)))
    html = page({"flow": "mine"}, list(diagnose(task, CHECKS)), {}, {})
    assert "&lt;img src=x onerror=alert(1)&gt;" in html, "the layer is named"
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in html
    assert not re.search("<(img|script)", html)


def test_training_shows_the_health_of_its_flow(folder, tmp_path):
    settings = ["trainer.max_steps=4", "trainer.val_check_interval=2", "callbacks.health.n_images=8"]
    fit([*tiny_overrides(folder / "images.npz", tmp_path / "run"), *settings, "data.dequantizer=none"])
    written = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    written.Reload()
    tags = written.Tags()
    assert [event.step for event in written.Scalars("health/failures")] == [2, 4]
    assert written.Scalars("health/data_are_dithered")[-1].value > 0.1
    assert written.Scalars("health/failures")[-1].value >= 1
    assert {tag.partition("/")[0] for tag in tags["scalars"]} >= {"health"}
    (text,) = {tag for tag in tags["tensors"] if tag.startswith("health/results")}
    assert b"data.dequantizer=uniform" in written.Tensors(text)[-1].tensor_proto.string_val[0]


def test_the_callback_refuses_to_look_at_no_image():
    with pytest.raises(ConfigError, match="at least"):
        LogHealth(0)
