"""Fixtures for all tests."""

import pytest
import torch

from tests.support.helpers import tiny_overrides, write_images


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def overrides(tmp_path) -> list[str]:
    return [*tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run"), "logger.tensorboard=null"]
