"""``nf_mnist.diagnose(flow, images)`` returns what the command prints."""

import numpy as np
import pytest
import torch

import nf_mnist
from nf_mnist.diagnostics import CHECKS
from nf_mnist.errors import ShapeError
from tests.support.strangers import MatrixWithoutPlaces, flow_of, images


def test_a_call_returns_the_answer_and_the_result_of_each_check(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter does
    levels = images(30).levels
    diagnosis = nf_mnist.diagnose(flow_of(MatrixWithoutPlaces()), levels.numpy(), images(30, seed=1).levels)
    assert [result.check for result in diagnosis.results] == [check.name for check in CHECKS]
    assert "4 times too small" in diagnosis.answer
    assert "MatrixWithoutPlaces" in diagnosis.answer
    assert diagnosis.answer[:60] in repr(diagnosis)
    assert "\x1b" not in repr(diagnosis)
    assert diagnosis.answer[:20] in diagnosis._repr_html_()


def test_any_object_and_images_without_channels_will_do():
    class Identity:
        def forward_and_log_det(self, x):
            return x.flatten(1), x.new_zeros(len(x))

        def inverse_and_log_det(self, z):
            return z.reshape(-1, 1, 4, 4), z.new_zeros(len(z))

    diagnosis = nf_mnist.diagnose(Identity(), images(30).levels[:, 0])
    assert {result.check: result.status for result in diagnosis.results}[
        "log-determinant is that of the Jacobian"
    ] == "pass"


@pytest.mark.parametrize("given", [torch.rand(3, 1, 4, 4), np.zeros((3, 4), dtype=np.uint8)])
def test_what_are_no_images_is_refused(given):
    with pytest.raises(ShapeError, match="uint8"):
        nf_mnist.diagnose(flow_of(), given)
