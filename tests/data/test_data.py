"""Reading, splitting and dequantizing images, and the order in which training sees them."""

import gzip
import hashlib
import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nf_mnist.data import (
    CP3Dequantizer,
    GaussianDequantizer,
    Images,
    ImageSet,
    NoDequantizer,
    UniformDequantizer,
    array_event_shape,
    array_file,
    draw_noise,
    evaluation_noise,
    mnist,
    random_subset,
    split,
    to_levels,
    torchvision_set,
)
from nf_mnist.data.sets import ASSETS
from nf_mnist.errors import ConfigError, DataError
from nf_mnist.training.datamodule import ImageDataModule
from nf_mnist.training.loader import EvaluationLoader, TrainingLoader
from tests.support.helpers import write_idx

# SHA-256 of the four official files, uncompressed, as published with them.
OFFICIAL = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LAST = 2**15 - 1


@pytest.fixture(scope="module")
def official() -> ImageSet:
    return mnist()


def numbered(n: int) -> Images:
    """Return images whose pixels all have the image's index as level."""
    numbers = torch.arange(n)
    return Images(numbers.to(torch.uint8)[:, None, None, None].expand(n, 1, 2, 2), numbers)


def test_the_bundled_files_are_the_official_ones(official):
    for name, sha256 in OFFICIAL.items():
        assert hashlib.sha256(gzip.decompress((ASSETS / f"{name}.gz").read_bytes())).hexdigest() == sha256
    assert official.train.levels.shape == (60000, 1, 28, 28)
    assert official.test.levels.shape == (10000, 1, 28, 28)
    assert official.train.levels.dtype == torch.uint8
    assert official.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert official.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"no images"), gzip.compress(bytes(10**5))[:60], b"no gzip", None],
    ids=["foreign", "truncated", "no_gzip", "missing"],
)
def test_a_damaged_or_missing_file_is_named(content, tmp_path):
    for path in ASSETS.iterdir():
        shutil.copy(path, tmp_path)
    damaged = tmp_path / "t10k-labels-idx1-ubyte.gz"
    damaged.unlink() if content is None else damaged.write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz"):
        mnist(tmp_path)


def test_no_test_image_is_among_those_to_train_or_validate_on(official):
    data = ImageDataModule(lambda: official, (1, 28, 28), 10000, 0, 128, 500, seed=0)
    data.setup()

    def content(images: Images) -> set[bytes]:
        return {image.tobytes() for image in images.levels.numpy()}

    assert [len(part.levels) for part in (data.train, data.validation, data.test)] == [50000, 10000, 10000]
    train, validation, test = map(content, (data.train, data.validation, data.test))
    assert content(official.test) == test
    assert content(official.train) == train | validation
    assert not test & (train | validation)
    assert not train & validation


def test_a_split_is_random_seeded_and_complete():
    first, rest = split(numbered(100), 30, seed=1)
    assert sorted([*first.labels.tolist(), *rest.labels.tolist()]) == list(range(100))
    assert torch.equal(first.levels[:, 0, 0, 0].long(), first.labels), "labels go with their images"
    assert torch.equal(split(numbered(100), 0.3, seed=1)[0].labels, first.labels)
    assert not torch.equal(split(numbered(100), 30, seed=2)[0].labels, first.labels)
    assert first.labels.tolist() != sorted(first.labels.tolist())
    for size in (0, 100, -3):
        with pytest.raises(DataError, match="both parts need at least one"):
            split(numbered(100), size, seed=0)


def test_a_subset_is_a_random_sample_and_not_the_first_images():
    images, index = random_subset(numbered(200), 50, seed=0)
    assert torch.equal(images.labels, index)
    assert len(set(index.tolist())) == 50
    assert index.max() > 100
    assert torch.equal(random_subset(numbered(200), None, seed=0)[1], torch.arange(200))


def test_uniform_dequantization_is_exact_in_float32_and_undone_by_to_levels():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for k in (0, 1, LAST // 2, LAST):
        x, log_q = UniformDequantizer()(levels, torch.full_like(levels, k, dtype=torch.long))
        assert x.dtype == torch.float32
        assert torch.equal(x.double() * 256, levels.double() + (k + 0.5) / 2**15)
        assert x.min() > 0
        assert x.max() < 1
        assert torch.equal(to_levels(x), levels)
        assert log_q.tolist() == pytest.approx([256 * math.log(256)])


def test_other_dequantizers_have_no_bits():
    levels = torch.tensor([[[[0, 255], [7, 128]]]], dtype=torch.uint8)
    x, _ = NoDequantizer()(levels, draw_noise(levels))
    assert torch.equal(x, levels / 255)
    x, _ = CP3Dequantizer()(levels, draw_noise(levels))
    assert torch.aminmax(x)[0].item() == pytest.approx(1e-4)
    assert torch.aminmax(x)[1].item() == pytest.approx(1 - 1e-4)
    assert UniformDequantizer.is_discrete
    assert not NoDequantizer.is_discrete
    assert not CP3Dequantizer.is_discrete
    assert not GaussianDequantizer.is_discrete


def test_gaussian_noise_is_normal_around_the_middle_of_the_level_and_repeatable():
    levels = torch.full((50, 1, 28, 28), 128, dtype=torch.uint8)
    noise = evaluation_noise(torch.arange(50), (1, 28, 28), draw=0, seed=0)
    x, log_q = GaussianDequantizer(0.05)(levels, noise)
    z = ((x - 128.5 / 256) / 0.05).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / n**0.5
    assert z.square().mean().item() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert z.pow(4).mean().item() == pytest.approx(3, abs=4 * (96 / n) ** 0.5)
    assert not log_q.any()
    assert torch.equal(x, GaussianDequantizer(0.05)(levels, noise)[0])
    middle = torch.full_like(noise, 2**14)
    assert torch.equal(to_levels(GaussianDequantizer(0.05)(levels, middle)[0]), levels)
    with pytest.raises(ConfigError, match="noise_std must be above 0"):
        GaussianDequantizer(0.0)


@pytest.mark.parametrize("k", [0, LAST // 3, LAST])
def test_noise_that_is_equal_everywhere_drops_out_of_cp3s_rescaling(k):
    levels = torch.tensor([[[[0, 255], [7, 128]]]], dtype=torch.uint8)
    x, log_q = CP3Dequantizer()(levels, torch.full_like(levels, k, dtype=torch.long))
    assert_close(x, 1e-4 + (1 - 2e-4) * levels.double() / 255, atol=2e-7, rtol=0, check_dtype=False)
    assert log_q.tolist() == [0]


def test_evaluation_noise_depends_on_the_index_alone():
    index = torch.tensor([5, 0, 9999])
    noise = evaluation_noise(index, (1, 28, 28), draw=1, seed=3)
    assert torch.equal(noise[1:2], evaluation_noise(torch.tensor([0]), (1, 28, 28), draw=1, seed=3))
    for draw, seed in ((0, 3), (1, 2)):
        assert not torch.equal(noise, evaluation_noise(index, (1, 28, 28), draw=draw, seed=seed))


def test_evaluation_noise_is_uniform():
    noise = evaluation_noise(torch.arange(500), (1, 28, 28), draw=0, seed=0).double()
    n = noise.numel()
    assert noise.min() >= 0
    assert noise.max() <= LAST
    assert abs(noise.mean() - LAST / 2) < 4 * 2**15 / math.sqrt(12 * n)
    counts = torch.bincount((noise.flatten() // 128).long(), minlength=256).double()
    chi_squared = ((counts - n / 256).square() / (n / 256)).sum()
    assert abs(chi_squared - 255) < 4 * math.sqrt(2 * 255)
    pairs = torch.stack([noise.flatten()[:-1], noise.flatten()[1:]])
    assert abs(torch.corrcoef(pairs)[0, 1]) < 4 / math.sqrt(n)


def test_an_array_file_is_read_and_split(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 8), dtype=np.uint8)
    path = str(tmp_path / "images.npz")
    np.savez(path, images=images, labels=np.arange(40))
    assert array_event_shape(path) == [1, 6, 8]
    train, test = array_file(path, 0.25, split_seed=0)
    assert (len(train.levels), len(test.levels)) == (30, 10)
    assert sorted([*train.labels.tolist(), *test.labels.tolist()]) == list(range(40))
    np.savez(path, images=images[:30], test_images=images[30:])
    train, test = array_file(path, 0.25, split_seed=0)
    assert np.array_equal(test.levels[:, 0].numpy(), images[30:])
    assert np.array_equal(train.levels[:, 0].numpy(), images[:30])


def test_test_images_of_another_shape_are_refused_before_training():
    shapes = [torch.zeros(20, 1, side, side, dtype=torch.uint8) for side in (4, 6)]
    images = ImageSet(*(Images(levels, torch.zeros(20, dtype=torch.long)) for levels in shapes))
    data = ImageDataModule(lambda: images, (1, 4, 4), 5, 0, batch_size=2, eval_batch_size=2, seed=0)
    with pytest.raises(DataError, match=r"the test images are \(1, 6, 6\), but data.event_shape is \(1, 4, 4\)"):
        data.setup()


def test_a_set_that_cannot_be_downloaded_is_said_in_a_sentence(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise RuntimeError("no route to host")

    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", no_network)
    with pytest.raises(DataError, match=r"FashionMNIST is not in .* could not be downloaded .*data=mnist"):
        torchvision_set("FashionMNIST", str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"\0\0\x08\x03" + bytes(100), b"not an IDX file"])
@pytest.mark.parametrize("download", [True, False])
def test_a_set_that_was_downloaded_in_part_is_named(content, download, tmp_path):
    (raw := tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (raw / f"{part}-{kind}").write_bytes(content)
    with pytest.raises(DataError, match=f"^FashionMNIST in {raw} is damaged.*; remove it$"):
        torchvision_set("FashionMNIST", str(tmp_path), download=download)


def write_emnist(root: Path, split: str) -> np.ndarray:
    """Write EMNIST's files with the letters 1, 2, 3; return the upright images of the training part."""
    (raw := root / "EMNIST" / "raw").mkdir(parents=True)
    upright = np.arange(3 * 784).reshape(3, 28, 28) % 251
    for part in ("train", "test"):
        write_idx(raw / f"emnist-{split}-{part}-images-idx3-ubyte", upright.transpose(0, 2, 1))
        write_idx(raw / f"emnist-{split}-{part}-labels-idx1-ubyte", np.array([1, 2, 3]))
    return upright


@pytest.mark.parametrize(("split", "labels"), [("letters", [0, 1, 2]), ("byclass", [1, 2, 3])])
def test_emnist_is_upright_and_its_letters_are_counted_from_0(split, labels, tmp_path):
    upright = write_emnist(tmp_path, split)
    for images in torchvision_set("EMNIST", str(tmp_path), split, download=False):
        assert np.array_equal(images.levels[:, 0].numpy(), upright)
        assert images.labels.tolist() == labels
        assert images.levels.is_contiguous()


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        (
            "EMNIST",
            None,
            "unknown split None of EMNIST; choose one of byclass, bymerge, balanced, letters, d",
        ),
        ("EMNIST", "nosuch", "unknown split 'nosuch' of EMNIST"),
        ("KMNIST", "letters", "KMNIST has no split 'letters'; leave the split out"),
    ],
)
def test_a_split_that_a_set_does_not_have_is_refused(name, split, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        torchvision_set(name, str(tmp_path), split)


def test_an_emnist_that_is_not_there_or_damaged_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match=r"EMNIST is not in .*, and a checkpoint downloads nothing"):
        torchvision_set("EMNIST", str(tmp_path), "letters", download=False)
    write_emnist(tmp_path, "letters")
    (tmp_path / "EMNIST" / "raw" / "emnist-letters-test-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"EMNIST in .* is damaged"):
        torchvision_set("EMNIST", str(tmp_path), "letters", download=False)
    with pytest.raises(DataError, match=r"EMNIST is not in "):
        torchvision_set("EMNIST", str(tmp_path), "digits", download=False)


def labels_of(loader: TrainingLoader) -> list[int]:
    return torch.cat([labels for _, labels in loader]).tolist()


def test_an_epoch_sees_each_image_once_in_another_order_each_time():
    loader = TrainingLoader(numbered(60), batch_size=7, seed=0)
    first, second = labels_of(loader), labels_of(loader)
    assert len(loader) == 8
    assert len(set(first)) == len(first) == 56, "the last 4 do not fill a batch"
    assert first != second
    assert first == labels_of(TrainingLoader(numbered(60), 7, seed=0))
    assert first != labels_of(TrainingLoader(numbered(60), 7, seed=1))


def test_processes_share_an_epoch_without_overlap():
    shares = [labels_of(TrainingLoader(numbered(60), 5, seed=0, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(itertools.chain(*shares)) == list(range(60))
    shares = [labels_of(EvaluationLoader(numbered(61), 5, rank, 3)) for rank in range(3)]
    assert sorted(itertools.chain(*shares)) == list(range(61))


@pytest.mark.parametrize("n_batches", [0, 1, 3, 8, 11, 16])
def test_a_loader_goes_on_where_another_stopped(n_batches):
    def batches(loader: TrainingLoader, n: int) -> list[list[int]]:
        taken: list[list[int]] = []
        while len(taken) < n:
            for _, labels in loader:
                taken.append(labels.tolist())
                if len(taken) == n:
                    break
        return taken

    expected = batches(TrainingLoader(numbered(60), 7, seed=0), 20)
    stopped, resumed = (TrainingLoader(numbered(60), 7, seed=0) for _ in range(2))
    begun = batches(stopped, n_batches)
    resumed.load_state_dict(stopped.state_dict())
    assert begun + batches(resumed, 20 - n_batches) == expected
