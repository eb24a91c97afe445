"""Images of another kind than those of the training are found, and the kind is named; samples of one set are alike."""

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.diagnosis.blind.changed_images import binarised, blurred, noisy, repeated, to_bytes, without_margin
from nf_mnist.data import mnist
from nf_mnist.diagnostics import DiagnosisTask, Result
from nf_mnist.diagnostics.measures.image_statistics import (
    COLUMN,
    HEIGHT,
    LIT,
    MEAN,
    N_LEVELS,
    OFF_CENTRE,
    ROW,
    SATURATED,
    SHARPNESS,
    STATISTICS,
    WIDTH,
    differences,
    distance_of_means,
)
from nf_mnist.diagnostics.report.summary import answer
from nf_mnist.flows import Flow
from tests.diagnostics.test_other_images import SAME, batch_of, gaussian
from tests.support.diagnosis_tasks import bars, results

GREYS, REPEAT, OVERFITS = "images use the grey levels", "images do not repeat", "validation scores as training does"
N = 100


def digits(seed: int, n: int = N, classes: int = 10) -> Tensor:
    """Return random training images of MNIST of the first classes, shape (n, 1, 28, 28)."""
    images = training_images()
    levels = images.levels[images.labels < classes]
    return levels[torch.randperm(len(levels), generator=torch.Generator().manual_seed(seed))[:n]]


@cache
def training_images():
    return mnist().train


def compared(images: Tensor, train: Tensor | None, names: tuple[str, ...] = (SAME,)) -> dict[str, Result]:
    """Return the results of checks that look at nothing but images."""
    flow = Flow(torch.nn.Identity(), tuple(images.shape[1:]))
    return results(DiagnosisTask(flow, batch_of(images), None if train is None else batch_of(train)), names)


def shrunk(levels: Tensor) -> Tensor:
    """Return digits of 14 pixels in the middle of a wide margin."""
    small = F.interpolate(levels.float(), size=20, mode="bilinear", antialias=True)
    return to_bytes(F.pad(small, (4, 4, 4, 4)))


KINDS = {  # what is done to the images, and what is to be said of them
    "blurred": (blurred, "blurred or resized"),
    "enlarged": (without_margin, "of another size or margin"),
    "shrunk": (shrunk, "of another size or margin"),
    "black and white": (binarised, "black and white only"),
    "noisy": (noisy, "noisy: 42% of the pixels are black, in training 8"),
    "displaced": (lambda v: v.roll(1, -1), "displaced or cut off: column of the centre"),
    "darker": (lambda v: to_bytes(0.75 * v.float()), "darker"),
    "of few levels": (lambda v: v // 64 * 64, "of other grey levels: number of levels 4"),
    "without black": (lambda v: to_bytes(v.float() + 5), "without a black background"),
    "upside down": (lambda v: v.flip(-2), "upside down"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_another_kind_are_named(kind):
    change, words = KINDS[kind]
    result = compared(change(digits(0, 1000)), digits(1, 1000))[SAME]
    assert (result.status, words in result.cause) == ("fail", True), result


def test_images_of_other_classes_are_found_among_a_hundred():
    for seed in range(5):
        result = compared(digits(seed), digits(seed + 100, classes=2))[SAME]
        assert result.status != "pass", result
        assert "classes or kinds" in result.cause
    assert compared(digits(0, 1000), digits(1, 1000, classes=2))[SAME].status == "fail"


@pytest.mark.parametrize("seed", range(20))
def test_two_samples_of_a_hundred_digits_are_alike(seed):
    both = digits(seed, 2 * N)
    found = compared(both[:N], both[N:], (GREYS, REPEAT, SAME))
    assert {one.status for one in found.values()} == {"pass"}, found
    assert found[SAME].size < 0.05, "half of what is a warning"


def of_one_grey(seed: int) -> Tensor:
    return torch.full((N, 1, 8, 8), 100, dtype=torch.uint8) + (torch.arange(N) % 2).reshape(-1, 1, 1, 1).byte()


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: bars(N, 8).levels,
        of_one_grey,
        lambda seed: binarised(digits(seed)),
        lambda seed: noisy(digits(seed)),
        lambda seed: digits(seed, classes=1),
        lambda seed: torch.randint(256, (N, 4), dtype=torch.uint8),
        lambda seed: torch.randint(256, (N, 3, 5, 7), dtype=torch.uint8),
    ],
    ids=["bars", "one grey", "black and white", "noise", "one class", "four numbers", "colours"],
)
def test_images_are_compared_with_their_own_training_images_only(make):
    for seed in range(5):
        result = compared(make(seed), make(seed + 100))[SAME]
        assert result.status == "pass", result


def test_images_of_two_levels_fail_if_those_of_the_training_have_greys():
    greys, black_and_white = digits(0), binarised(digits(1))
    for images, train, status in (
        (black_and_white, greys, "fail"),
        (black_and_white, binarised(greys), "warn"),
        (black_and_white, None, "warn"),
        (greys, black_and_white, "pass"),
    ):
        assert compared(images, train, (GREYS,))[GREYS].status == status
    assert "those of the training are black and white only" in compared(greys, black_and_white)[SAME].cause


@pytest.mark.parametrize("whose", ["images", "training images"])
def test_images_that_are_shown_again_and_again_are_counted(whose):
    few, all_different = repeated(digits(0)), digits(1)
    sets = (few, all_different) if whose == "images" else (all_different, few)
    found = compared(*sets, (REPEAT, SAME))
    assert (found[REPEAT].status, found[SAME].status) == ("fail", "skip")
    assert found[REPEAT].cause == f"{whose} are repeated: 20 different ones among 100"
    assert found[REPEAT].size == pytest.approx(0.8)


def test_no_image_of_mnist_is_there_twice_and_the_whole_sets_are_looked_at():
    levels = training_images().levels
    sets = levels[:10_000], levels[10_000:]
    task = DiagnosisTask(gaussian(), batch_of(levels[:N]), batch_of(levels[-N:]), sets=sets)
    assert results(task, [REPEAT])[REPEAT].size == 0
    task.sets = (levels[:10_000], levels[10_000:].repeat(2, 1, 1, 1))
    assert "50000 different ones among 100000" in results(task, [REPEAT])[REPEAT].cause
    task.sets = (blurred(levels[:10_000]), levels[10_000:])
    assert "blurred" in results(task, [SAME])[SAME].cause


def test_without_training_images_nothing_is_compared():
    result = compared(noisy(digits(0)), None)[SAME]
    assert (result.status, result.measured) == ("skip", "there are no training images")


def test_images_that_differ_are_the_answer_and_are_not_called_overfitting():
    levels = torch.randint(100, 200, (N, 1, 8, 8), dtype=torch.uint8)
    task = DiagnosisTask(gaussian(levels=levels), batch_of(255 - levels), batch_of(levels))
    found = results(task, [SAME, OVERFITS])
    assert (found[SAME].status, found[OVERFITS].status) == ("fail", "skip")
    assert "inverted, black for white" in answer([*found.values()])


def test_statistics_are_those_of_an_image_that_is_known():
    levels = torch.zeros(1, 1, 6, 8, dtype=torch.uint8)
    levels[0, 0, 1:3, 2:6] = 255
    levels[0, 0, 1, 2] = 55
    found = {one.name: one.measure(levels).item() for one in STATISTICS}
    total = 7 * 255 + 55
    assert found[MEAN] == pytest.approx(total / 48)
    assert found[LIT] == pytest.approx(8 / 48)
    assert found[SATURATED] == pytest.approx(7 / 48)
    assert found[N_LEVELS] == 3
    steps = (55 + 200 + 255) + 2 * 255 + (55 + 200 + 255) + 6 * 255  # along the rows, then along the columns
    assert found[SHARPNESS] == pytest.approx(steps / total)
    assert (found[HEIGHT], found[WIDTH]) == (2, 4)
    assert found[ROW] == pytest.approx((1 * (3 * 255 + 55) + 2 * 4 * 255) / total)
    assert found[COLUMN] == pytest.approx((2 * (255 + 55) + (3 + 4 + 5) * 2 * 255) / total)
    assert found[OFF_CENTRE] == pytest.approx(((found[ROW] - 2.5) ** 2 + (found[COLUMN] - 3.5) ** 2) ** 0.5)


def test_black_images_have_no_box_and_their_centre_in_the_middle():
    found = {one.name: one.measure(torch.zeros(2, 1, 6, 8, dtype=torch.uint8)) for one in STATISTICS}
    assert found[HEIGHT].tolist() == found[WIDTH].tolist() == found[SHARPNESS].tolist() == [0, 0]
    assert (found[ROW][0], found[COLUMN][0], found[OFF_CENTRE][0]) == (2.5, 3.5, 0)


def test_differences_tend_to_those_of_the_distributions():
    """Of independent uniform levels, those of one half of the range are 64 levels darker."""
    generator = torch.Generator().manual_seed(0)
    dark, light = (torch.randint(n, (4000, 1, 3, 4), generator=generator, dtype=torch.uint8) for n in (128, 256))
    assert distance_of_means(dark, light) == pytest.approx(64 / (256 / 12**0.5), rel=0.05)
    deviation = 256 / 12**0.5 / 12**0.5  # of the mean of 12 pixels
    assert differences(dark, light)[MEAN].size == pytest.approx(-64 / deviation, rel=0.1)
