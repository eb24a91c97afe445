"""Flows with labels are classifiers, and continuous ones may be solved with another tolerance."""

import math
import sys

import pytest

from benchmarks.density import bayes_accuracy
from benchmarks.density.bayes_accuracy import set_tolerance
from benchmarks.measuring import rows_of
from nf_mnist.bijectors import Flatten
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow


def test_a_flow_that_solves_no_equation_has_no_tolerance():
    with pytest.raises(ConfigError, match="Flow solves no equation"):
        set_tolerance(Flow(Flatten((1, 2, 2)), (1, 2, 2)), 1e-2)


@pytest.mark.slow
def test_the_released_flow_classifies(tmp_path, monkeypatch):
    out = tmp_path / "rows.json"
    command = ["x", "flow_matching", "pretrained:flow_matching", "--images", "4", "--tolerance", "1e-2"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(out)])
    bayes_accuracy.main()
    ((key, row),) = rows_of(out).items()
    assert key.endswith("tolerance 0.01"), "rows of other tolerances are kept beside it"
    accuracy = row["flow"]["accuracy"]
    assert accuracy >= 0.75  # of four images; by chance in one of 250 cases
    assert row["standard_error"] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 4))
    assert row["classifier"]["accuracy"] == 1
