"""``debug=profile`` leaves a trace that Perfetto and TensorBoard can read."""

import json

import pytest

from nf_mnist.errors import ConfigError
from nf_mnist.training.callbacks.profile import ProfileSteps
from tests.support.helpers import fit, tiny_overrides, write_images

N_STEPS = 5  # that conf/debug/profile.yaml records


def test_a_profiled_training_writes_a_trace_of_its_steps(tmp_path):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    overrides = [text for text in base if not text.startswith("evaluation.")]  # a debug run has none
    fit([*overrides, "debug=profile", "logger.tensorboard=null", "callbacks.health=null"])
    (trace,) = (tmp_path / "run" / "profile").glob("*.pt.trace.json")
    names = [event["name"] for event in json.loads(trace.read_text())["traceEvents"] if event.get("ph") == "X"]
    assert sum(name.startswith("ProfilerStep#") for name in names) == N_STEPS
    assert sum(name.startswith("Optimizer.step#") for name in names) == N_STEPS
    assert "aten::convolution_backward" in names
    assert "aten::" in (tmp_path / "run" / "profile" / "operations.txt").read_text()


def test_a_profile_of_no_steps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        ProfileSteps(str(tmp_path), n_skipped=1, n_steps=0)
