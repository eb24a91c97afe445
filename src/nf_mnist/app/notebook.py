"""The diagnosis as a call, for notebooks: ``nf_mnist.diagnose(flow, images)``."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from nf_mnist.app.diagnosis import WIDTH, print_results
from nf_mnist.data import Images, UniformDequantizer
from nf_mnist.diagnostics import CHECKS, DiagnosisTask, Result, answer, as_flow, diagnose, make_batch
from nf_mnist.diagnostics.report.html import page
from nf_mnist.errors import ShapeError


class Diagnosis(NamedTuple):
    """What the command ``diagnose`` prints; a console shows it as a table, a notebook as a page.

    Attributes:
        answer: One sentence: what is wrong, where, how sure that is, and what to try.
        results: The result of each check, in order.
    """

    answer: str
    results: Sequence[Result]

    def __repr__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=WIDTH, color_system=None, force_jupyter=False)
        print_results(self.results, {}, console)
        return text.getvalue()

    def _repr_html_(self) -> str:
        return page({"flow": "your flow"}, self.results, {}, {})


def diagnose_images(
    flow: Any,
    images: Any,
    train: Any = None,
    labels: Any = None,
    n_images: int = 500,
    check_seconds: float = 60.0,
    seed: int = 0,
) -> Diagnosis:
    """Say what is wrong with a flow, and what to try.

    Args:
        flow: A :class:`~nf_mnist.flows.Flow`, or any object with ``forward_and_log_det(x)`` and
            ``inverse_and_log_det(z)``. It is set to evaluation mode.
        images: Grey levels from 0 to 255 of images that the flow was not trained on, shape (n, channels, height, width)
            or (n, height, width), dtype uint8; a tensor or an array. They are dequantized uniformly.
        train: The same of images that it was trained on, or None.
        labels: Class labels of ``images``, shape (n,), if the flow is conditioned on them.
        n_images: Size of the random samples of images.
        check_seconds: Time after which a check is given up.
        seed: Seed of the samples and of the noise.

    Returns:
        The answer and the results.

    Raises:
        ShapeError: If the images are no bytes of such a shape.
    """
    sets = [_images(part, labels if i == 0 else None) for i, part in enumerate((images, train)) if part is not None]
    built = as_flow(flow, tuple(sets[0].levels.shape[1:]))
    dequantizer = UniformDequantizer()
    scored, *seen = [make_batch(built, dequantizer, part, n_images, seed) for part in sets]
    levels = None if train is None else (sets[0].levels, sets[1].levels)
    task = DiagnosisTask(built, scored, seen[0] if seen else None, seed=seed, sets=levels)
    results = list(diagnose(task, CHECKS, check_seconds))
    return Diagnosis(answer(results), results)


def _images(given: Any, labels: Any) -> Images:
    levels: Tensor = torch.as_tensor(given)
    levels = levels[:, None] if levels.dim() == 3 else levels
    if levels.dtype != torch.uint8 or levels.dim() != 4 or not len(levels):
        raise ShapeError(
            f"images must be uint8 of shape (n, channels, height, width), got {levels.dtype} of {tuple(levels.shape)}; "
            "for images in [0, 1]: (255 * images).round().to(torch.uint8)"
        )
    numbers = torch.zeros(len(levels), dtype=torch.int64) if labels is None else torch.as_tensor(labels).long()
    return Images(levels, numbers)
