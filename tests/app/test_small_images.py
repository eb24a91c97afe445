"""Images as small as one pixel: every model trains on them and is measured, or refuses them in one line."""

import numpy as np
import pytest

from tests.support.fuzz import complaint
from tests.support.helpers import SMALL, tiny_overrides


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (6, 3)], ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("model", SMALL)
def test_images_of_few_pixels_are_trained_on_or_refused_in_a_line(model, shape, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=levels)
    base = tiny_overrides(tmp_path / "images.npz", tmp_path / "run", model)
    assert complaint("train", [*base, "trainer.max_steps=1", "evaluation.batch_size=4"]) == ""
