"""Seeds mixed from several numbers."""

import itertools
import sys

import pytest

from nf_mnist.training.seeds import mixed_seed


@pytest.mark.parametrize(
    ("numbers", "seed"),
    [
        ((0, 0, 0, 0), 5997146865798422254),
        ((0, 1, 2, 3), 942193693195901011),
        ((4294967295, 9, 99999, 7), 7584993690115135016),
    ],
)
def test_a_seed_is_the_same_in_every_python_so_that_old_runs_can_be_resumed(numbers, seed):
    assert mixed_seed(*numbers) == seed
    if sys.implementation.name == "cpython" and sys.maxsize > 2**32:
        assert hash(numbers) % 2**63 == seed


def test_different_steps_have_different_seeds():
    steps = list(itertools.product(range(3), range(20), range(50), range(2)))  # seed, epoch, batch, process
    seeds = {mixed_seed(*step) for step in steps}
    assert len(seeds) == len(steps)
    assert all(0 <= seed < 2**63 for seed in seeds)
