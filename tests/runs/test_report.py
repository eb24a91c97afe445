"""A training ends with pictures and a page in the folder of the run."""

import math

import torch
from torchvision.io import decode_image

from nf_mnist.runs.report import PICTURES, read_curve, write_report
from tests.support.registry import make_flow

ROWS = {"test bpd": "1.234", "<script>": "a & b"}


def metrics_csv(folder, text):
    path = folder / "csv" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_pictures_and_a_page_with_them_are_written(tmp_path):
    metrics_csv(tmp_path, "step,train/bpd,val/bpd\n9,2.0,\n19,1.5,1.6\n")
    flow = make_flow("realnvp").eval()
    said = write_report(tmp_path, "run <1>", ROWS, flow, torch.randn(50, flow.dims), seed=0)
    assert said == "samples.png, norm_of_z.png, learning_curve.png, report.html"
    grid = decode_image(str(tmp_path / "samples.png"))
    assert grid.shape[1] == 2 * (8 * (flow.event_shape[1] + 2) + 2)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "run &lt;1&gt;" in page
    assert "&lt;script&gt;" in page
    assert "1.234" in page


def test_a_run_without_csv_has_no_learning_curve(tmp_path):
    flow = make_flow("realnvp").eval()
    said = write_report(tmp_path, "run", ROWS, flow, torch.randn(50, flow.dims), seed=0)
    assert said == "samples.png, norm_of_z.png, report.html"
    assert not (tmp_path / PICTURES["learning curve"]).exists()


def test_a_curve_holds_the_steps_at_which_a_loss_was_logged(tmp_path):
    path = metrics_csv(tmp_path, "val/bpd,step,train/bpd,train/loss\n,9,2.0,1500\n1.6,19,,\n,19,nan,1200\n")
    train, validation, unit = read_curve(path)
    assert [step for step, _ in train] == [9, 19]
    assert train[0][1] == 2
    assert math.isnan(train[1][1])
    assert validation == [(19, 1.6)]
    assert unit == "bits per dimension"


def test_a_curve_of_a_flow_without_bits_is_its_loss(tmp_path):
    path = metrics_csv(tmp_path, "step,train/loss,val/loss\n9,1500,\n19,,1400\n")
    assert read_curve(path) == ([(9, 1500)], [(19, 1400)], "loss, nats per image")


def test_a_file_without_losses_has_no_curve(tmp_path):
    assert read_curve(metrics_csv(tmp_path, "step,epoch\n9,0\n")) is None
