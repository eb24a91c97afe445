"""A healthy flow that is shown images of another kind than those that it was trained on."""

from collections.abc import Callable

from torch import Tensor

from benchmarks.diagnosis.blind.builders import dense_flow
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly
from benchmarks.diagnosis.blind.changed_images import binarised, blurred, noisy, repeated, transposed, without_margin

TRAINED = "dense"  # a healthy flow of this set


def shown(change: Callable[[Tensor], Tensor]) -> Callable[[], Shown]:
    """Return a function that shows validation images after a change, and training images as they are."""

    def changed() -> Shown:
        plain = shown_plainly()
        return plain._replace(levels=change(plain.levels))

    return changed


CHANGES = {
    "shown_blurred": blurred,
    "shown_without_margin": without_margin,
    "shown_transposed": transposed,
    "shown_binarised": binarised,
    "shown_with_noise": noisy,
    "shown_repeated": repeated,
}
FAULTY_DATA = {name: Case(dense_flow, None, shown(change), TRAINED) for name, change in CHANGES.items()}
