"""Figures and grids of images."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from torchvision.io import decode_image

from nf_mnist.plots import contact_sheet, image_grid, moment_maps, png, projection_scatter, radius_histogram
from tests.support.helpers import is_shown


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    assert plt.get_fignums() == []


def test_a_grid_holds_each_image_in_reading_order():
    x = torch.stack([torch.full((1, 4, 4), value) for value in (0.1, 0.2, 0.3, 2.0)])
    grid = image_grid(x)
    assert grid.shape == (3, 14, 14)
    assert [round(grid[0, row, column].item(), 3) for row, column in ((3, 3), (3, 9), (9, 3), (9, 9))] == [
        0.1,
        0.2,
        0.3,
        1.0,
    ]
    assert image_grid(x, columns=4).shape == (3, 8, 26)


def pixels(figure) -> torch.Tensor:
    """Return the grey levels of a figure as it is written, shape (rows, columns)."""
    return decode_image(torch.frombuffer(bytearray(png(figure)), dtype=torch.uint8))[0]


def some_levels(n: int, side: int) -> torch.Tensor:
    return torch.randint(256, (n, 1, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("side", [8, 28, 100])
def test_a_contact_sheet_shows_every_pixel_and_says_what_it_is(side):
    levels, captions = some_levels(5, side), [f"label {i}\n{i}.5 bpd" for i in range(5)]
    figure = contact_sheet(levels / 255, 3, "five images", ["a", "b", "c"], captions)
    picture = pixels(figure)
    assert all(is_shown(image[0], picture) for image in levels)
    assert [text.get_text() for text in figure.texts] == ["five images", "a", "b", "c", *captions]
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, "no text is cut off"
        assert box.x1 <= picture.shape[1]
        assert box.y0 >= 0


def test_texts_and_images_of_a_contact_sheet_do_not_overlap():
    white = torch.ones(4, 1, 28, 28)
    both = [pixels(contact_sheet(white * grey, 2, "four", ["a", "b"], ["x\ny"] * 4)) for grey in (1, 0)]
    texts, images = both[0] < 255, (both[0] != both[1]) & (both[1] == 0)
    assert texts.any()
    assert not (texts & images).any()
    assert images.sum() == 4 * (3 * 28) ** 2


def test_a_contact_sheet_of_many_images_is_of_bounded_width_and_has_no_captions():
    levels = some_levels(1000, 28)
    figure = contact_sheet(levels / 255, 32, "many", captions=[""] * 1000)
    assert len(figure.texts) == 1
    assert pixels(figure).shape[1] < 1200


def test_the_radius_histogram_shows_the_chi_density_and_all_radii():
    (axes,) = radius_histogram(torch.cat([torch.randn(500, 784), 3 * torch.randn(20, 784)])).axes
    (line,) = axes.lines
    radii, density = line.get_data()
    assert radii[density.argmax()] == pytest.approx(math.sqrt(783), abs=0.1), "the mode of chi(784)"
    area = sum(patch.get_height() * patch.get_width() for patch in axes.patches)
    assert area == pytest.approx(1)
    assert axes.patches[-1].get_x() > 80


def test_the_chi_density_is_whole_beside_the_farthest_latents():
    (axes,) = radius_histogram(torch.cat([torch.randn(99, 784), 400 * torch.randn(1, 784)])).axes
    radii, density = axes.lines[0].get_data()
    area = torch.trapezoid(torch.as_tensor(density), torch.as_tensor(radii)).item()
    assert area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "z", [torch.full((3, 784), float("nan")), torch.full((3, 784), float("inf")), torch.ones(1, 4)]
)
def test_the_radius_histogram_survives_what_a_broken_flow_gives(z):
    radius_histogram(z)


def test_moment_maps_have_one_pixel_a_dimension():
    mean, std = torch.randn(784), torch.rand(784)
    figure = moment_maps(mean, std)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.shape for image in shown][:2] == [(28, 28), (28, 28)]
    assert float(shown[0][0, 1]) == pytest.approx(mean[1].item())
    moment_maps(torch.zeros(5), torch.ones(5))


def test_a_projection_has_one_point_an_image():
    (axes,) = projection_scatter(torch.randn(37, 2)).axes
    assert len(axes.collections[0].get_offsets()) == 37
    (axes,) = projection_scatter(torch.tensor([[0.0, 0.0], [300.0, -20.0], [torch.nan, 1.0]])).axes
    assert axes.get_xlim()[1] >= 300, "far points are in the picture"
