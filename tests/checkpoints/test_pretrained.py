"""Released weights: found by name, verified, and as good as they are said to be."""

import json
import math
from pathlib import Path

import pytest
import torch

import nf_mnist
from nf_mnist.app.trained import load_classifier, load_trained
from nf_mnist.checkpoints import pretrained
from nf_mnist.data import DEQUANTIZERS, evaluation_noise, mnist, random_subset
from nf_mnist.errors import CheckpointError
from nf_mnist.flows import ContinuousFlow
from tests.support.helpers import run_command, tiny_overrides, write_images
from tests.support.sampling import sampled

RESULTS = Path(__file__).parents[2] / "results"
NAMES = pretrained.pretrained_names()
FLOWS = [name for name in NAMES if name != "classifier"]
MIB = 2**20


def test_a_name_that_was_not_released_is_answered_with_the_list():
    with pytest.raises(CheckpointError, match="no released weights 'nosuch'; choose one of") as refusal:
        nf_mnist.load_pretrained("nosuch")
    assert all(name in str(refusal.value) for name in NAMES)
    finished = run_command("sample", "ckpt=pretrained:nosuch")
    assert (finished.code, finished.err.count("\n")) == (1, 1)


def test_a_file_that_is_not_what_was_released_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  flow.ckpt\n")
    for content in (None, b"something else"):
        if content is not None:
            (tmp_path / "flow.ckpt").write_bytes(content)
        with pytest.raises(CheckpointError, match=f"its SHA-256 is not the released {'0' * 64}"):
            nf_mnist.load_pretrained("flow")


def test_what_is_released_is_small_and_listed():
    files = {path.stem: path.stat().st_size for path in pretrained.WEIGHTS.glob("*.ckpt")}
    assert sorted(files) == NAMES
    assert max(files.values()) <= 15 * MIB
    assert sum(files.values()) <= 48_000_000


@pytest.mark.parametrize("name", NAMES)
def test_what_is_released_names_no_folder_of_the_machine_it_was_made_on(name):
    def texts(node):
        if isinstance(node, dict):
            return [text for value in node.values() for text in texts(value)]
        return [node] if isinstance(node, str) else []

    checkpoint = torch.load(pretrained.WEIGHTS / f"{name}.ckpt", weights_only=True)
    assert not [text for text in texts(checkpoint["config"]) if text.startswith(("/", "outputs"))]


def test_export_keeps_weights_in_bfloat16_from_which_every_command_but_resuming_works(tmp_path):
    images = write_images(tmp_path / "images.npz")
    base = [*tiny_overrides(images, tmp_path / "run"), "model.preprocess=gaussianize", "trainer.max_steps=2"]
    assert run_command("train", *base).code == 0
    last, small = tmp_path / "run" / "checkpoints" / "last.ckpt", tmp_path / "small.ckpt"
    finished = run_command("export", f"ckpt={last}", f"out={small}")
    assert finished.code == 0, finished.err
    assert "small.ckpt" in finished.out
    assert small.stat().st_size < last.stat().st_size / 2
    whole, flow = nf_mnist.load_flow(last), nf_mnist.load_flow(small)
    for own, other in zip(flow.parameters(), whole.parameters(), strict=True):
        assert torch.equal(own, other.bfloat16().float())
    for own, other in zip(flow.buffers(), whole.buffers(), strict=True):
        assert torch.equal(own, other)
    assert run_command("evaluate", f"ckpt={small}", f"out={tmp_path}/metrics.json").code == 0
    assert run_command("sample", f"ckpt={small}", "n=4", f"out={tmp_path}/grid.png").code == 0
    resumed = run_command("train", *base[:-1], f"ckpt={small}", "trainer.max_steps=4", f"output_dir={tmp_path}/other")
    assert (resumed.code, "use init_from=" in resumed.err) == (1, True)
    again = run_command("export", f"ckpt={last}", f"out={small}")
    assert (again.code, "exists already" in again.err) == (1, True)


@pytest.mark.parametrize("name", sampled(FLOWS))
def test_released_flows_reach_their_published_metrics(name):
    metrics = json.loads((RESULTS / f"{name}.json").read_text())
    flow, _, cfg, _ = load_trained(f"pretrained:{name}")
    n_images = 20 if isinstance(flow, ContinuousFlow) else 150  # the likelihood of an image takes a second
    sample, index = random_subset(mnist().test, n_images, seed=1)
    x, log_q = DEQUANTIZERS[cfg.data.dequantizer]()(sample.levels, evaluation_noise(index, (1, 28, 28), 0, 0))
    with torch.no_grad():
        log_likelihood = flow.log_prob(x, flow.context(sample.labels)) - log_q
    error = log_likelihood.std() / math.sqrt(len(index))
    assert abs(log_likelihood.mean() - metrics["log_likelihood"]) < 4 * error
    assert metrics["checkpoint"] == f"pretrained:{name}", "metrics are of the rounded weights"


def test_the_released_classifier_reads_digits():
    classifier = load_classifier()
    sample, _ = random_subset(mnist().test, 1000, seed=1)
    probabilities = classifier.probabilities(sample.levels)
    assert (probabilities.argmax(1) == sample.labels).double().mean() > 0.985
    assert classifier.features(sample.levels[:3].float() / 255).shape == (3, 128)
    noise = torch.randint(256, (200, 1, 28, 28), dtype=torch.uint8)
    scattered = sample.levels[:200].flatten(1)[:, torch.randperm(784)].reshape(200, 1, 28, 28)
    for others in (noise, scattered):
        assert (classifier.probabilities(others).max(1)[0] > 0.95).double().mean() < 0.05
    if FLOWS:
        with pytest.raises(CheckpointError, match="holds no classifier"):
            load_classifier(f"pretrained:{FLOWS[0]}")
