"""A user's own images: the kinds of arrays and folders that are read, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from nf_mnist.data import array_event_shape, array_file, own_images, write_arrays
from nf_mnist.data.sets import NO_LABEL
from nf_mnist.errors import DataError

LEVELS = np.random.default_rng(1).integers(0, 256, (12, 5, 7), dtype=np.uint8)


def read(folder, **arrays) -> torch.Tensor:
    """Write arrays, read them, and return the levels of the test images, which keep their order."""
    np.savez(folder / "images.npz", images=LEVELS, **arrays)
    return array_file(str(folder / "images.npz"), 0.5, 0).test.levels


@pytest.mark.parametrize(
    "array",
    [
        LEVELS,
        LEVELS[:, None],
        LEVELS[..., None],
        LEVELS.astype(np.int64),
        LEVELS.astype(np.float32) / 255,
        LEVELS.astype(np.float64)[:, None] / 255,
    ],
)
def test_images_of_all_kinds_become_the_same_levels(array, tmp_path):
    found = read(tmp_path, test_images=array)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), LEVELS[:, None])


@pytest.mark.parametrize("labels", [None, list(range(12))])
@pytest.mark.parametrize("images", [LEVELS, torch.from_numpy(LEVELS), LEVELS.tolist(), LEVELS / 255])
def test_arrays_are_written_as_they_are_read(images, labels, tmp_path):
    own = own_images(images, labels)
    with (tmp_path / "images.npz").open("wb") as file:
        write_arrays(own, file)
    train, test = array_file(str(tmp_path / "images.npz"), 0.25, 0)
    assert len(test.levels) == 3
    order = [*test.labels.tolist(), *train.labels.tolist()]
    assert (sorted(order) == labels) if labels else (set(order) == {NO_LABEL})
    assert np.array_equal(own.levels[:, 0].numpy(), LEVELS)
    assert labels is None or np.array_equal(train.levels[:, 0].numpy(), LEVELS[train.labels])


def test_truth_values_become_black_and_white(tmp_path):
    assert np.array_equal(read(tmp_path, test_images=LEVELS > 99)[:, 0].numpy(), np.where(LEVELS > 99, 255, 0))


def test_floats_are_rounded_to_the_nearest_level(tmp_path):
    found = read(tmp_path, test_images=np.array([[[0.0, 0.49 / 255, 0.51 / 255, 254.49 / 255, 254.51 / 255, 1.0]]]))
    assert found.flatten().tolist() == [0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (LEVELS.astype(np.float32), r"holds float32 from 0 to 255; expected whole numbers from 0 to 255"),
        (LEVELS / 255.0 - 0.5, r"holds float64 from -0.5 to 0.5; expected .* floats from 0 to 1"),
        (np.where(LEVELS > 9, 0.5, np.nan), "holds float64 from nan to nan"),
        (LEVELS.astype(np.int64) * 257, "holds int64 from 0 to 65535; expected whole numbers from 0 to 255"),
        (LEVELS % 2, "holds only 0 and 1; save them as truth values, or as 0 and 255"),
        (LEVELS.astype(str), "holds <U3; expected"),
        (np.stack([LEVELS] * 3, 1), r"is of shape \(12, 3, 5, 7\); expected grey images"),
        (np.stack([LEVELS] * 3, 3), r"is of shape \(12, 5, 7, 3\); expected grey images"),
        (LEVELS[0], r"is of shape \(5, 7\)"),
    ],
)
def test_images_whose_white_is_unknown_or_that_are_not_grey_are_refused(array, said, tmp_path):
    with pytest.raises(DataError, match=rf"'test_images' in .*images.npz {said}"):
        read(tmp_path, test_images=array)


def test_names_of_keras_are_read(tmp_path):
    path = str(tmp_path / "mnist.npz")
    np.savez(path, x_train=LEVELS, y_train=np.arange(12), x_test=LEVELS[:2], y_test=np.array([3, 4]))
    train, test = array_file(path, 0.5, 0)
    assert np.array_equal(train.levels[:, 0].numpy(), LEVELS)
    assert train.labels.tolist() == list(range(12))
    assert test.labels.tolist() == [3, 4]


def save(path, levels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path):
    for number, name in enumerate(["cats", "ants", "cats", "bees"]):
        save(tmp_path / "train" / name / f"{number}.png", LEVELS[number])
    for name in ("ants", "bees", "cats"):
        save(tmp_path / "test" / name / "1.png", LEVELS[9])
    (tmp_path / "train" / "cats" / "notes.txt").write_text("not a picture")
    train, test = array_file(str(tmp_path), 0.5, 0)
    assert train.labels.tolist() == [0, 1, 2, 2]
    assert np.array_equal(train.levels[:, 0].numpy(), LEVELS[[1, 3, 0, 2]])
    assert test.labels.tolist() == [0, 1, 2]
    assert array_event_shape(str(tmp_path)) == [1, 5, 7]


def test_pictures_without_class_folders_have_no_labels(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", LEVELS[number])
    train, test = array_file(str(tmp_path), 0.25, 0)
    assert (len(train.levels), len(test.levels)) == (3, 1)
    assert set(train.labels.tolist()) == {NO_LABEL}


def spoil_size(folder) -> None:
    save(folder / "a" / "2.png", LEVELS[0, :4])


def spoil_place(folder) -> None:
    save(folder / "loose.png", LEVELS[0])


def spoil_picture(folder) -> None:
    (folder / "a" / "2.png").write_bytes(b"no picture")


def spoil_all(folder) -> None:
    (folder / "a" / "1.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_size, r"2.png has 4x7 pixels, and .*1.png has 5x7; all pictures must be of one size"),
        (spoil_place, "loose.png lies beside the class folders a; move it into one of them"),
        (spoil_picture, "2.png is missing or no picture"),
        (spoil_all, "has no pictures"),
    ],
)
def test_a_folder_that_holds_something_else_is_refused(spoil, said, tmp_path):
    save(tmp_path / "a" / "1.png", LEVELS[0])
    spoil(tmp_path)
    with pytest.raises(DataError, match=said):
        array_file(str(tmp_path), 0.5, 0)


def test_other_classes_in_test_than_in_training_are_refused(tmp_path):
    save(tmp_path / "train" / "a" / "1.png", LEVELS[0])
    save(tmp_path / "test" / "b" / "1.png", LEVELS[0])
    with pytest.raises(DataError, match=r"the class folders of train and test differ: \['a'\] and \['b'\]"):
        array_file(str(tmp_path), 0.5, 0)
