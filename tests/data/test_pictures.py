"""A user's own pictures and arrays: scaled or refused, whatever their format, and never a traceback or a hang."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nf_mnist.data import array_file, read_picture
from nf_mnist.errors import DataError
from nf_mnist.inpainting.masks import make_observed
from tests.support.damage import damaged

GREY = np.array([[0, 64, 128], [191, 250, 255]], dtype=np.uint8)
N_DAMAGED = 500
DEEP = GREY.astype(np.uint16) * 257


def with_alpha(alpha: int) -> np.ndarray:
    return np.dstack([GREY, GREY, GREY, np.full_like(GREY, alpha)])


def test_each_format_of_a_picture_gives_the_same_levels(tmp_path):
    pictures = {
        "grey.png": Image.fromarray(GREY),
        "grey.tif": Image.fromarray(GREY),
        "deep.png": Image.fromarray(DEEP),
        "deep.tif": Image.fromarray(DEEP),
        "colour.png": Image.fromarray(GREY).convert("RGB"),
        "opaque.png": Image.fromarray(with_alpha(255)),
        "opaque_grey.png": Image.fromarray(with_alpha(255)).convert("LA"),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        found = read_picture(tmp_path / name)
        assert (found.dtype, found.shape) == (torch.uint8, (1, 2, 3)), name
        assert np.array_equal(found[0].numpy(), GREY), name


def test_levels_of_16_bits_are_rounded(tmp_path):
    Image.fromarray(np.array([[0, 128, 129, 65406, 65407]], dtype=np.uint16)).save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png").flatten().tolist() == [0, 0, 1, 254, 255]


REFUSED = {
    "transparent.png": (lambda: Image.fromarray(with_alpha(0)), "transparent pixels"),
    "faint.png": (lambda: Image.fromarray(with_alpha(254)).convert("LA"), "transparent pixels"),
    "float.tif": (lambda: Image.fromarray(GREY.astype(np.float32) / 255), "has F pixels, whose white is unknown"),
    "integer.tif": (lambda: Image.fromarray(GREY.astype(np.int32)), "has I pixels, whose white is unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_whose_grey_is_unknown_is_refused(name, tmp_path):
    make, said = REFUSED[name]
    make().save(tmp_path / name)
    with pytest.raises(DataError, match=said):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("color", [0, (1, 2, 3)], ids=["grey", "colour"])
def test_a_transparent_colour_is_refused_where_a_pixel_has_it(color, tmp_path):
    picture = Image.fromarray(GREY) if color == 0 else Image.fromarray(GREY).convert("RGB")
    picture.save(tmp_path / "x.png", transparency=color)
    if color == 0:
        with pytest.raises(DataError, match="transparent pixels"):
            read_picture(tmp_path / "x.png")
    else:
        assert np.array_equal(read_picture(tmp_path / "x.png")[0].numpy(), GREY)


def test_a_mask_of_16_bits_hides_what_its_8_bits_hide_and_a_transparent_one_is_refused(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "mask.png")
    assert make_observed(str(tmp_path / "mask.png"), (1, 2, 3)).tolist() == [[[False, False, True], [True] * 3]]
    Image.fromarray(with_alpha(100)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="transparent pixels"):
        make_observed(str(tmp_path / "mask.png"), (1, 2, 3))


def read_array(path: Path) -> None:
    array_file(str(path), 0.5, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("read", [read_picture, read_array])
def test_a_pipe_or_a_device_is_refused_at_once(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match=r"it is no regular file|has no pictures"):
            read(path)


def damage_and_read(good: Path, read: Callable[[Path], object]) -> int:
    """Read damaged copies of a file; return how many were refused. Nothing but a DataError in a line may come."""
    draw, content, refusals = random.Random(0), good.read_bytes(), []
    bad = good.with_stem("bad")
    for _ in range(N_DAMAGED):
        bad.write_bytes(damaged(content, draw))
        try:
            read(bad)
        except DataError as refusal:
            refusals.append(str(refusal))
    assert all(str(bad) in text and "\n" not in text for text in refusals)
    return len(refusals)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_array_file_is_refused_or_read(compressed, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 7, 7), dtype=np.uint8) // 16
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "good.npz", images=images, labels=np.arange(30), test_images=images[:9], test_labels=np.arange(9))
    assert damage_and_read(tmp_path / "good.npz", read_array) > N_DAMAGED / 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_damaged_picture_is_refused_or_read(suffix, tmp_path):
    levels = np.random.default_rng(0).integers(0, 65536, (28, 28), dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / f"good.{suffix}")
    damage_and_read(tmp_path / f"good.{suffix}", read_picture)
