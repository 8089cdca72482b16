"""The frequencies of the container `frequency`: the rule's choice, and what is stored of real images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hmn.containers.frequency import OPPONENT, Frequency, FrequencyShape, cosines, extent, kept, turned, variance
from hmn.data.source import Normalisation
from tests.reference import rival_images


def container(image_shape: tuple[int, int, int], coefficients: int, images: int = 2) -> Frequency:
    shape = FrequencyShape(
        image_shape=image_shape, images_per_class=(images,) * 2, budget=10**6, coefficients=coefficients
    )
    norm = Normalisation((0.5,) * image_shape[0], (0.25,) * image_shape[0])
    return Frequency(shape, class_names=("a", "b"), normalisation=norm)


def pictures(image_shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(4, *image_shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("image_shape", "counts"),
    [
        ((3, 32, 32), (1, 7, 81, 387, 3_072)),
        ((1, 8, 8), (1, 8, 64)),
        ((3, 5, 17), (1, 50, 255)),
        ((3, 9, 2), (1, 20, 54)),
        ((1, 1, 1), (1,)),
    ],
)
def test_the_largest_variances_are_kept(image_shape: tuple[int, int, int], counts: tuple[int, ...]) -> None:
    """Among a rule's equal ones (down and across exchanged) the first in order."""
    for count in counts:
        found = kept(image_shape, count)
        assert [tuple(wave) for wave in found] == rival_images.places(image_shape, count)
        assert extent(image_shape, count) == tuple(1 + max(wave[axis] for wave in found) for axis in (1, 2))
        for wave in found:
            assert variance(wave, image_shape) == pytest.approx(rival_images.variance(wave, image_shape))


def test_a_place_on_cifar() -> None:
    """Most of the 81 are of brightness: the rule gives 64, 13 and 4 to the three channels."""
    found = kept((3, 32, 32), 81)
    assert [sum(wave.channel == channel for wave in found) for channel in range(3)] == [64, 13, 4]
    assert found[0] == (0, 0, 0) and extent((3, 32, 32), 81) == (9, 9)
    assert variance(found[0], (3, 32, 32)) == 100 and variance(found[0], (3, 64, 32)) == 200


@pytest.mark.parametrize("image_shape", [(3, 6, 9), (1, 7, 4)])
def test_the_start_is_the_truncated_projection(image_shape: tuple[int, int, int]) -> None:
    targets = pictures(image_shape)
    for count in (1, 11, 24):
        found = container(image_shape, count)
        assert found.shape.exact_start and found.start_from(targets)
        stored, wanted = rival_images.low_frequencies(targets.double().numpy(), count)
        assert np.allclose(found.coefficients.detach().numpy(), stored, atol=1e-5)
        assert np.allclose(found.render_all().numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("image_shape", [(3, 6, 9), (1, 7, 4)])
def test_all_coefficients_are_the_whole_image(image_shape: tuple[int, int, int]) -> None:
    targets = pictures(image_shape)
    found = container(image_shape, targets[0].numel())
    found.start_from(targets)
    assert torch.allclose(found.render_all(), targets, atol=1e-5)


def test_the_transforms_are_orthonormal() -> None:
    for side in (1, 2, 7, 32):
        assert torch.allclose(cosines(side, side) @ cosines(side, side).T, torch.eye(side), atol=1e-5)
    axes = torch.tensor(OPPONENT)
    assert torch.allclose(axes @ axes.T, torch.eye(3), atol=1e-6)
    images = pictures((3, 2, 5))
    assert torch.allclose(turned(turned(images, back=False), back=True), images, atol=1e-6)
    assert torch.allclose(turned(images, back=False), torch.einsum("oc,bchw->bohw", axes, images), atol=1e-6)


@pytest.mark.parametrize("image_shape", [(3, 32, 32), (1, 8, 8)])
def test_bits_do_not_depend_on_the_batch(image_shape: tuple[int, int, int]) -> None:
    """At sizes in use: batched products are the part that could round by their number."""
    found = container(image_shape, min(81, image_shape[1] * image_shape[2]), images=60)
    together = found.render_all()
    for count in (1, 2, 3, 8, 17, 64, 120):
        index = torch.randperm(120, generator=torch.Generator().manual_seed(count))[:count]
        assert torch.equal(found.images(index), together[index]), count
