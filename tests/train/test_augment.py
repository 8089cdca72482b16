"""Augmentation and CutMix against float64 loops, and their promises about randomness."""

from dataclasses import replace

import pytest
import torch

from hmn.errors import UserError
from hmn.recipes.settings import AugmentConfig
from hmn.train import augment
from hmn.train.augment import CROP, ROTATE, SCALE, STAY, AugmentParams, apply, cutmix, draw, without_cutout
from tests.reference.augment_reference import apply_slow

STRATEGIES = ["color", "crop", "cutout", "flip", "scale", "rotate", "color_crop_cutout"]
STRATEGIES += ["flip_crop", "flip_rotate", "color_crop_cutout_flip_scale_rotate", "none"]
EVERYTHING = AugmentConfig(strategy="color_crop_cutout_flip_scale_rotate")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 9), (3, 10, 6)])
def test_apply_agrees_with_slow_loops(strategy: str, shape: tuple[int, int, int]) -> None:
    generator = seeded(3)
    images = torch.randn(16, *shape, dtype=torch.float64, generator=generator)
    params = draw(AugmentConfig(strategy=strategy), 16, shape, generator)
    expected = apply_slow(images, params)
    torch.testing.assert_close(apply(images, params), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(apply(images.float(), params).double(), expected, rtol=1e-4, atol=1e-4)
    assert strategy == "none" or not torch.equal(expected, images)


ONE = replace(EVERYTHING, at_once="one")
KINDS = ("color", "crop", "scale", "rotate", "flip", "cutout")


def active(params: AugmentParams) -> list[set[str]]:
    """The operations that each row may have done to an image."""
    found: list[set[str]] = [{("", "crop", "scale", "rotate")[choice]} - {""} for choice in params.choice.tolist()]
    nothing = {"flip": False, "color": [0.0, 1.0, 1.0], "shift": [0, 0], "hole": [0, 0, 0, 0]}
    names = {"flip": "flip", "color": "color", "shift": "crop", "hole": "cutout"}
    for field, idle in nothing.items():
        values = getattr(params, field)
        for row, value in zip(found, [] if values is None else values.tolist(), strict=values is not None):
            row |= {names[field]} if value != idle else set()
    return found


@pytest.mark.parametrize("one_choice", [False, True])
@pytest.mark.parametrize("shape", [(3, 9, 12), (1, 8, 8)])
def test_one_operation_at_once_is_that_of_slow_loops(shape: tuple[int, int, int], one_choice: bool) -> None:
    generator = seeded(5)
    images = torch.randn(12, *shape, dtype=torch.float64, generator=generator)
    seen = set()
    for _ in range(40):
        params = draw(ONE, 12, shape, generator, one_choice=one_choice)
        expected = apply_slow(images, params)
        torch.testing.assert_close(apply(images, params), expected, rtol=1e-12, atol=1e-12)
        rows = active(params)
        assert all(len(row) <= 1 for row in rows)
        # A flip comes up tails, or a shift is by nothing: then the image stays, to the bit.
        single = apply(images.float(), params)
        idle = torch.tensor([not row for row in rows])
        assert torch.equal(single[idle], images.float()[idle])
        assert not one_choice or len(set.union(*rows)) <= 1
        seen |= set.union(*rows)
    assert seen == set(KINDS)


def test_one_operation_at_once_gives_each_its_turn() -> None:
    """With holes that are never empty and factors that are never 1: what is idle is a flip or a shift by nothing."""
    rows = active(draw(ONE, 12_000, (3, 32, 32), seeded()))
    counts = {kind: sum(kind in row for row in rows) for kind in KINDS}
    for kind, share in zip(KINDS, (1, 80 / 81, 1, 1, 0.5, 1), strict=True):
        assert counts[kind] == pytest.approx(2000 * share, abs=200), counts
    params = draw(replace(ONE, strategy="color"), 9, (3, 8, 8), seeded(2))
    assert torch.equal(params.color, draw(AugmentConfig(strategy="color"), 9, (3, 8, 8), seeded(2)).color)  # type: ignore[arg-type]
    assert draw(replace(ONE, strategy="none"), 3, (3, 8, 8), seeded()).choice.tolist() == [STAY] * 3


def test_none_returns_the_same_pixels() -> None:
    images = torch.randn(4, 3, 8, 8, generator=seeded())
    assert torch.equal(apply(images, draw(AugmentConfig(strategy="none"), 4, (3, 8, 8), seeded())), images)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "one of all"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 13, 11), (3, 65, 63), (3, 224, 224)])
def test_siamese_images_are_bit_equal_in_any_batch(strategy: str, shape: tuple[int, int, int]) -> None:
    """Real and generated images are augmented in batches of different sizes, with rows of one draw."""
    generator = seeded(1)
    b = 4 if shape[1] > 100 else 12
    real = torch.randn(b, *shape, generator=generator)
    classes = torch.arange(b) % 3
    config = ONE if strategy == "one of all" else AugmentConfig(strategy=strategy)
    params = draw(config, 3, shape, generator)
    together = apply(real, params.expand(classes))
    for i in range(b):
        alone = apply(real[i : i + 1], params.expand(classes[i : i + 1]))
        assert torch.equal(alone[0], together[i])
    part = apply(real[1:4].contiguous(), params.expand(classes[1:4]))
    assert torch.equal(part, together[1:4])


def test_rows_of_one_class_have_one_draw() -> None:
    image = torch.randn(1, 3, 16, 16, generator=seeded()).expand(6, -1, -1, -1)
    classes = torch.tensor([0, 0, 1, 0, 1, 1])
    out = apply(image, draw(EVERYTHING, 2, (3, 16, 16), seeded(2)).expand(classes))
    assert torch.equal(out[0], out[1]) and torch.equal(out[0], out[3]) and torch.equal(out[2], out[5])
    assert not torch.equal(out[0], out[2])


def test_bits_do_not_depend_on_threads() -> None:
    """A sum over one large image is split between threads when the image is alone in its batch."""
    shape = (3, 224, 224)
    images = 3 + torch.randn(6, *shape, generator=seeded())  # a mean whose last bits show in the result
    params = draw(EVERYTHING, 6, shape, seeded(5))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(apply(images, params))
            alone = [apply(images[i : i + 1], params.expand(torch.tensor([i]))) for i in range(6)]
            results.append(torch.cat(alone))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results)


def test_same_seed_same_parameters_and_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, second = (draw(EVERYTHING, 5, (3, 32, 32), seeded(7)) for _ in range(2))
    for name, value in vars(first).items():
        assert torch.equal(value, vars(second)[name])
    cutmix(torch.zeros(2, 1, 4, 4), torch.arange(2), probability=1, alpha=0.3, generator=seeded())
    assert torch.equal(before, torch.get_rng_state())


def test_draw_covers_the_ranges_of_the_paper() -> None:
    n = 4000
    params = draw(EVERYTHING, n, (3, 32, 32), seeded())
    assert torch.equal(params.choice.unique(), torch.tensor([CROP, SCALE, ROTATE]))
    assert params.choice.bincount()[1:].min() > n / 4
    assert 0.45 < params.flip.double().mean() < 0.55
    low, high = params.color.amin(0), params.color.amax(0)
    torch.testing.assert_close(low, torch.tensor([-0.5, 0.0, 0.5]).double(), rtol=0, atol=0.01)
    torch.testing.assert_close(high, torch.tensor([0.5, 2.0, 1.5]).double(), rtol=0, atol=0.01)
    assert params.shift.amin() == -4 and params.shift.amax() == 4
    scale = params.warp[params.choice == SCALE]
    assert scale[:, 0, 1].abs().max() == 0
    assert 1 / 1.2 <= scale[:, 0, 0].min() < 0.85 and 1.18 < scale[:, 1, 1].max() <= 1.2
    rotate = params.warp[params.choice == ROTATE]
    angle = torch.atan2(rotate[:, 1, 0], rotate[:, 0, 0]) * 180 / torch.pi
    assert -15 <= angle.min() < -14.5 and 14.5 < angle.max() <= 15
    torch.testing.assert_close(torch.linalg.det(rotate), torch.ones(len(rotate)).double())
    assert torch.equal(params.hole[:, 2:] - params.hole[:, :2], torch.full((n, 2), 16))
    assert params.hole[:, :2].amin() == -8 and params.hole[:, :2].amax() == 24


@pytest.mark.parametrize(("side", "crop", "hole"), [(28, 4, 14), (7, 1, 4), (12, 2, 6), (3, 0, 2)])
def test_pixels_of_shares_are_rounded(side: int, crop: int, hole: int) -> None:
    """IDC rounds halves up: 12.5 % of 28 pixels is 4, half of 7 is 4."""
    params = draw(AugmentConfig(), 500, (1, side, side), seeded())
    assert params.shift.amax() == crop and params.shift.amin() == -crop
    assert torch.equal((params.hole[:, 2:] - params.hole[:, :2]).unique(), torch.tensor([hole]))


def test_one_choice_for_a_batch_differs_between_calls() -> None:
    generator = seeded()
    choices = [draw(EVERYTHING, 9, (3, 8, 8), generator, one_choice=True).choice for _ in range(20)]
    assert all(len(choice) == 9 and len(choice.unique()) == 1 for choice in choices)
    assert len({int(choice[0]) for choice in choices}) == 3
    assert draw(AugmentConfig(strategy="color_cutout"), 2, (3, 8, 8), generator).choice.tolist() == [STAY] * 2


@pytest.mark.parametrize("channels", [1, 3])
def test_differentiable(channels: int) -> None:
    shape = (channels, 4, 5)
    images = torch.randn(6, *shape, dtype=torch.float64, generator=seeded(), requires_grad=True)
    params = draw(EVERYTHING, 6, shape, seeded(1))
    assert len(params.choice.unique()) == 3
    assert torch.autograd.gradcheck(lambda x: apply(x, params), images)


def test_saturation_leaves_grey_images_alone() -> None:
    config = AugmentConfig(strategy="color", brightness=0, contrast=0)
    images = torch.randn(5, 1, 8, 8, generator=seeded())
    assert torch.equal(apply(images, draw(config, 5, (1, 8, 8), seeded())), images)


def test_without_cutout_drops_only_cutout() -> None:
    assert without_cutout(EVERYTHING).strategy == "color_crop_flip_scale_rotate"
    assert without_cutout(AugmentConfig(strategy="cutout")).strategy == "none"
    assert without_cutout(AugmentConfig(strategy="none")).strategy == "none"


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"unknown augmentation 'colour'.*color, crop"):
        draw(AugmentConfig(strategy="colour_crop"), 1, (3, 8, 8), seeded())
    with pytest.raises(ValueError, match="2 rows of parameters for 3 images"):
        apply(torch.zeros(3, 3, 8, 8), draw(EVERYTHING, 2, (3, 8, 8), seeded()))
    empty = apply(torch.zeros(0, 3, 8, 8), draw(EVERYTHING, 0, (3, 8, 8), seeded()))
    assert empty.shape == (0, 3, 8, 8)


def test_cutmix_swaps_one_box_and_counts_its_area() -> None:
    """Every image is of one value, so that each pixel tells where it comes from."""
    labels, partial = torch.arange(6), 0
    images = labels.double().view(6, 1, 1, 1).expand(6, 2, 5, 7)
    for seed in range(40):
        mixed, first, second, share = cutmix(images, labels, probability=1.0, alpha=1.0, generator=seeded(seed))
        assert torch.equal(first, labels) and sorted(second.tolist()) == labels.tolist()
        for i in range(6):
            foreign = mixed[i] != i
            assert bool((mixed[i][foreign] == second[i]).all())
            if second[i] != i:
                assert float(foreign.double().mean()) == pytest.approx(1 - share)
                assert torch.equal(foreign[0], foreign[1])
                rows, columns = foreign[0].any(1), foreign[0].any(0)
                assert torch.equal(foreign[0], rows[:, None] & columns[None, :])  # a rectangle
        partial += 0 < share < 1
    assert partial > 20
    assert torch.equal(images, labels.double().view(6, 1, 1, 1).expand(6, 2, 5, 7)), "the input is left alone"


def test_cutmix_probability_and_share() -> None:
    images, labels = torch.zeros(2, 1, 64, 64), torch.arange(2)
    generator = seeded()
    shares = [cutmix(images, labels, probability=0.5, alpha=1.0, generator=generator)[3] for _ in range(400)]
    assert 0.4 < sum(share == 1 for share in shares) / 400 < 0.6
    same = cutmix(images, labels, probability=0.0, alpha=1.0, generator=generator)
    assert same[0] is images and same[3] == 1.0
    # A large alpha cuts half of the area: sides of 64 / sqrt(2), less what the border clips.
    shares = [cutmix(images, labels, probability=1.0, alpha=1e6, generator=generator)[3] for _ in range(200)]
    assert min(shares) == pytest.approx(1 - 44**2 / 64**2)
    assert max(shares) < 1 - 21**2 / 64**2


def test_names_stay_importable() -> None:
    assert {"AugmentParams", "apply", "cutmix", "draw", "operations", "without_cutout"} <= set(dir(augment))
