"""Round trips are counted part by part, and an interrupted count goes on."""

import pytest
import torch

from benchmarks.density import round_trips
from benchmarks.density.round_trips import count, n_unchanged
from benchmarks.measuring import rows_of
from nf_mnist.bijectors import Flatten
from nf_mnist.flows import Flow


class Forgetful(Flow):
    """A flow whose latents forget images that begin with white, and that may be interrupted."""

    def __init__(self, n_calls: int = 1000) -> None:
        super().__init__(Flatten((1, 2, 2)), (1, 2, 2))
        self.n_calls = n_calls

    def encode(self, x, context=None):
        self.n_calls -= 1
        if self.n_calls < 0:
            raise KeyboardInterrupt
        return super().encode(torch.where(x[:, :, :1, :1] > 0.99, 0.1, x))


LEVELS = torch.arange(40).repeat(4, 1).T.reshape(40, 1, 2, 2).to(torch.uint8)
LEVELS[::4, 0, 0, 0] = 255


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(round_trips, "PART", 7)


def test_images_that_change_are_not_counted():
    assert n_unchanged(Forgetful(), LEVELS) == 30


def test_an_interrupted_count_goes_on_and_ends_as_one_that_never_stopped(tmp_path, capsys):
    whole = count(Forgetful(), LEVELS, 40, tmp_path / "whole.json", "a", "1")
    assert (whole["n_images"], whole["n_exact"]) == (40, 30)
    with pytest.raises(KeyboardInterrupt):
        count(Forgetful(2), LEVELS, 40, tmp_path / "rows.json", "a", "1")
    assert rows_of(tmp_path / "rows.json")["a"]["n_images"] == 14
    again = Forgetful(4)  # 26 images are left
    assert count(again, LEVELS, 40, tmp_path / "rows.json", "a", "1") == whole
    assert again.n_calls == 0
    assert capsys.readouterr().out.splitlines()[-1] == "30 of 40 images come back with the same levels"


def test_a_count_can_be_continued_to_more_images_and_is_not_of_other_weights(tmp_path):
    result = tmp_path / "rows.json"
    assert count(Forgetful(), LEVELS, 10, result, "a", "1")["n_images"] == 10
    assert count(Forgetful(2), LEVELS, 20, result, "a", "1")["n_images"] == 20
    assert count(Forgetful(), LEVELS, 5, result, "a", "2")["n_images"] == 5
