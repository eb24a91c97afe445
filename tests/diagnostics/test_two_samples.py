"""Images of kinds that the training images lack are told from overfitting."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.measures.two_samples import are_of_another_kind, share_near_own
from tests.diagnostics.test_image_statistics import OVERFITS, digits
from tests.diagnostics.test_other_images import SAME, batch_of, gaussian
from tests.support.diagnosis_tasks import results

N = 500


def small_digits(seed: int, classes: int = 10) -> Tensor:
    """Return digits of the first classes, shape (500, 1, 8, 8), with some noise so that no pixel is always black."""
    small = F.interpolate(digits(seed, N, classes).float(), size=8, mode="area")
    noise = 12 * torch.randn(small.shape, generator=torch.Generator().manual_seed(seed)).abs()
    return (small + noise).round().clamp(0, 255).to(torch.uint8)


def test_the_share_is_one_half_of_sets_drawn_alike_and_one_of_sets_apart():
    first, second = (torch.randint(256, (400, 1, 3, 3), dtype=torch.uint8) for _ in range(2))
    assert share_near_own(first, second) == pytest.approx(0.5, abs=0.1)  # four standard errors
    assert share_near_own(first // 4, 192 + second // 4) == 1
    assert share_near_own(first, first.flip(0)[:-1]) < 0.01, "each image is its own copy in the other set"
    zeros = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    assert share_near_own(zeros, zeros) == 0.5


def test_digits_of_all_classes_lie_apart_from_zeros_and_ones_and_not_from_others_of_all_classes():
    assert are_of_another_kind(digits(1, N), digits(0, N, classes=2))
    assert not are_of_another_kind(digits(1, N), digits(0, N))
    assert not are_of_another_kind(digits(1, N), digits(0, 50))
    assert not are_of_another_kind(digits(1, 1), digits(0, N, classes=2))


@pytest.mark.parametrize(("classes", "check"), [(2, SAME), (4, SAME), (10, OVERFITS)])
def test_training_on_the_first_images_of_a_sorted_file_is_not_called_overfitting(classes, check):
    seen = small_digits(0, classes) if classes < 10 else small_digits(0)[:40]  # too few to fit a density of pixels
    task = DiagnosisTask(gaussian(levels=seen), batch_of(small_digits(1)), batch_of(seen))
    result = results(task, [SAME, OVERFITS])[check]
    assert result.status != "pass", result
    assert ("the first images of a sorted file" in result.cause) == (classes < 10)


def test_images_that_plain_statistics_take_for_alike_are_compared_by_their_neighbours():
    seen = small_digits(0)[:40]
    task = DiagnosisTask(gaussian(levels=seen), batch_of(small_digits(1)), batch_of(seen))
    task.sets = (digits(1, N), digits(0, N, classes=4))
    result = results(task, [OVERFITS])[OVERFITS]
    assert "the first images of a sorted file" in result.cause, result
