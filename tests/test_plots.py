"""Figures and grids of images."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from nf_mnist.plots import image_grid, moment_maps, projection_scatter, radius_histogram


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
