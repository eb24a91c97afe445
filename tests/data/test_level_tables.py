"""The tables of grey levels are read as they were counted, or refused in one line."""

import shutil

import pytest
import torch

from nf_mnist.data import mnist
from nf_mnist.data.level_tables import FILE, FOLDER, cell_tables, read_level_tables
from nf_mnist.data.resampling import N_INKS, SIDES
from nf_mnist.errors import DataError
from nf_mnist.flows.hierarchy import level_prior


def test_there_is_a_table_for_every_side_white_and_cell():
    log_ratio, table_of, log_state, log_window = read_level_tables()
    assert table_of.shape == (len(SIDES) * N_INKS, 20, 20)
    assert torch.equal(table_of, cell_tables())
    assert log_ratio.shape == (int(table_of.max()) + 1, 255)
    assert log_state.shape == (len(table_of),)
    assert log_window.shape == (8, 28, 29, 9)


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_damaged_or_missing_file_is_said_in_one_line(content, tmp_path):
    shutil.copy(FOLDER / "SHA256SUMS", tmp_path)
    path = tmp_path / FILE.name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="install nf_mnist again") as refusal:
        read_level_tables(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_changed_byte_is_found(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "levels")
    path = tmp_path / "levels" / FILE.name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged: its SHA-256 is"):
        read_level_tables(path)


def test_the_readme_has_the_checksum():
    checksum, name = (FOLDER / "SHA256SUMS").read_text().split()
    assert name == FILE.name
    assert checksum in (FOLDER / "README.md").read_text()


def test_the_prior_explains_mnist_and_no_other_images():
    prior, levels = level_prior("resampled", (1, 28, 28)), mnist().train.levels[:300]
    prior.fit(levels)
    brighter = (255 * (levels / 255) ** 0.7).round().to(torch.uint8)
    for other in (255 - levels, brighter, torch.randint_like(levels, 256)):
        with pytest.raises(
            DataError, match=r"\d+% of 150 training images .* use model.flow.level_prior=palettes or none"
        ):
            prior.fit(other)
