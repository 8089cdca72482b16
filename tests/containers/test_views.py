"""Images that are stored once and shown twice, the second time mirrored: what is seen, counted, kept and pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from hmn.cli.main import main
from hmn.condensation.loop import reconstruction_step
from hmn.containers.artifact.load import info, load
from hmn.containers.choose import enlarged_shape
from hmn.containers.frequency import Frequency, FrequencyShape
from hmn.containers.shape import Budget
from hmn.data.real import RealData
from hmn.data.source import Normalisation
from hmn.errors import UserError
from hmn.pruning.aum import load_profile
from hmn.pruning.survivors import METHODS, check_prunable, counts_at_rate, counts_in_budget, counts_to, keep_indices
from hmn.report.gather import price_of_an_image
from tests.cli.test_main import refused
from tests.reference import rival_images

SIZES = [((3, 8, 10), 70), ((3, 5, 7), 105), ((1, 8, 8), 12), ((1, 6, 9), 54), ((3, 4, 1), 12), ((1, 1, 1), 1)]
COUNTS = (6, 2, 4)
DIGITS = [
    "condense",
    "digits",
    "--ipc",
    "1",
    "--recipe",
    "quick",
    "--container",
    "frequency",
    "--sizes.views",
    "2",
    "--sizes.coefficients",
    "8",
    "--condense.epochs",
    "1",
    "--condense.inner-steps",
    "2",
    "--condense.network.width",
    "4",
    "--condense.network.update-batches",
    "1",
    "--evaluate.width",
    "4",
]
"""Eight images of eight values for each class, as sixteen."""


def container(
    image_shape: tuple[int, int, int] = (3, 8, 10), coefficients: int = 70, *, views: int = 2, seed: int = 0
) -> Frequency:
    """A container of three classes with 3, 1 and 2 stored images."""
    shape = FrequencyShape(
        image_shape=image_shape,
        images_per_class=tuple(count * views // 2 for count in COUNTS),
        budget=10**5,
        coefficients=coefficients,
        views=views,
    )
    norm = Normalisation((0.5,) * image_shape[0], (0.25,) * image_shape[0])
    generator = torch.Generator().manual_seed(seed)
    return Frequency(shape, class_names=("a", "b", "c"), normalisation=norm, generator=generator)


@pytest.mark.parametrize(("image_shape", "coefficients"), SIZES)
def test_every_second_image_is_the_one_before_it_mirrored(image_shape: tuple[int, int, int], coefficients: int) -> None:
    mirrored, plain = container(image_shape, coefficients), container(image_shape, coefficients, views=1)
    assert torch.equal(mirrored.coefficients, plain.coefficients)
    wanted = rival_images.frequency(plain)  # float64
    seen = mirrored.render_all()
    for stored in range(6):
        assert torch.allclose(seen[2 * stored].double(), wanted[stored], atol=1e-5)
        for column in range(image_shape[2]):
            other = wanted[stored, :, :, image_shape[2] - 1 - column]
            assert torch.allclose(seen[2 * stored + 1, :, :, column].double(), other, atol=1e-5)
    assert torch.allclose(seen[::2], plain.render_all(), atol=1e-6)
    if image_shape[2] > 1:
        assert float((seen[::2] - seen[1::2]).abs().mean()) > 0.01
    assert mirrored.labels.tolist() == [0] * 6 + [1] * 2 + [2] * 4


@pytest.mark.parametrize("image_shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 8, 10)])
def test_an_image_alone_has_the_bits_that_it_has_among_others(image_shape: tuple[int, int, int]) -> None:
    whole = container(image_shape, 60)
    together = whole.render_all()
    for index in ([0], [1], [11], [3, 8], [9, 2, 5], list(range(12))[::-1]):
        assert torch.equal(whole.images(torch.tensor(index)), together[index]), index
    assert torch.equal(together[::2], container(image_shape, 60, views=1).render_all())


def test_gradients_of_both_views_reach_what_is_stored() -> None:
    weights = torch.randn(12, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    both, plain = container(), container(views=1)
    (both.images(torch.arange(12)) * weights).sum().backward()
    (plain.images(torch.arange(6)) * (weights[::2] + weights[1::2].flip(3))).sum().backward()
    # The gradient at the bounds is passed by its sign, which two views need not share: no pixel may lie there.
    assert both.coefficients.grad is not None and plain.coefficients.grad is not None
    inside = ((plain.render_all() > 0) & (plain.render_all() < 1)).flatten(1).all(dim=1)
    assert inside.any()
    assert torch.allclose(both.coefficients.grad[inside], plain.coefficients.grad[inside], atol=1e-4)


@pytest.mark.parametrize(("image_shape", "coefficients"), SIZES)
def test_the_first_of_two_images_is_taken_over(image_shape: tuple[int, int, int], coefficients: int) -> None:
    targets = torch.rand(12, *image_shape, generator=torch.Generator().manual_seed(2))
    whole = container(image_shape, coefficients)
    assert whole.start_from(targets)
    stored, wanted = rival_images.low_frequencies(targets[::2].double().numpy(), coefficients)
    assert torch.allclose(whole.coefficients.double(), torch.tensor(stored), atol=1e-4)
    assert torch.allclose(whole.render_all()[::2].double(), torch.tensor(wanted), atol=1e-5)
    assert torch.allclose(whole.render_all()[1::2].double(), torch.tensor(wanted).flip(3), atol=1e-5)


@pytest.mark.parametrize("batch", [1024, 4])
def test_a_fit_to_real_images_is_that_of_the_first_views(batch: int) -> None:
    """The second of two targets would ask the same values for another image."""
    pixels = torch.randint(0, 256, (30, 3, 8, 10), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    both, plain = container(), container(views=1)
    real = RealData(pixels, torch.arange(30) % 3, both.class_names, both.normalisation, "noise")
    targets = torch.randperm(30, generator=torch.Generator().manual_seed(6))[:12]
    errors = [
        reconstruction_step(each, real, chosen, batch, torch.Generator().manual_seed(7))
        for each, chosen in ((both, targets), (plain, targets[::2]))
    ]
    assert errors[0] == errors[1] and both.coefficients.grad is not None and plain.coefficients.grad is not None
    assert torch.allclose(both.coefficients.grad, plain.coefficients.grad, atol=1e-6)


def test_a_mirror_image_costs_nothing() -> None:
    mirrored, plain = container(), container(views=1)
    assert mirrored.ledger() == plain.ledger() and mirrored.ledger().num_floats == 6 * 70
    assert mirrored.ledger().num_bytes() == sum(value.nbytes for value in mirrored.state_dict().values())
    assert (mirrored.copies, mirrored.shape.copies, plain.copies, plain.shape.copies) == (2, 2, 1, 1)
    for budget in (30_720, 31_000):
        wanted = Budget(num_classes=10, image_shape=(3, 32, 32), floats=budget)
        one, two = FrequencyShape.plan(wanted), FrequencyShape.plan(wanted, views=2)
        assert two.num_images == 2 * one.num_images and two.ledger() == one.ledger()


def test_parts_hold_what_is_stored_of_their_classes() -> None:
    whole = container()
    slices = [whole.rows("coefficients", range(label, label + 1)) for label in range(3)]
    assert slices == [slice(0, 3), slice(3, 4), slice(4, 6)]
    part = whole.part(range(1, 3))
    assert part.shape.images_per_class == (2, 4) and torch.equal(part.coefficients, whole.coefficients[3:])
    assert torch.equal(part.render_all(), whole.render_all()[6:])


def test_views_of_an_image_are_kept_or_dropped_together() -> None:
    whole = container()
    index = torch.tensor([9, 3, 6, 8, 2, 7])
    kept = whole.keep(index)
    assert kept.shape.images_per_class == (2, 2, 2) and torch.equal(kept.coefficients, whole.coefficients[[1, 3, 4]])
    assert torch.equal(kept.render_all(), whole.render_all()[[2, 3, 6, 7, 8, 9]])
    for halves in ([2, 6, 7, 8, 9], [1, 2, 6, 7, 8, 9], [0, 1, 6, 7, 8, 10], [0, 6, 8], [0, 1, 3, 6, 7, 8, 9]):
        with pytest.raises(ValueError, match="expected all 2 views of each image"):
            whole.keep(torch.tensor(halves))
    with pytest.raises(ValueError, match="expected distinct images in 0..11"):
        whole.keep(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="'b' without any"):
        whole.keep(torch.tensor([0, 1, 8, 9]))


def obvious(aum: Tensor, labels: Tensor, counts: tuple[int, ...], hard_share: float) -> list[int]:
    """Survivors, by sorting the pairs of every class in Python."""
    kept = []
    for label, count in enumerate(counts):
        pairs = [first for first in range(0, len(labels), 2) if int(labels[first]) == label]
        means = {first: (float(aum[first]) + float(aum[first + 1])) / 2 for first in pairs}
        removed = len(pairs) - count // 2
        hardest = int(round(hard_share * 10) * removed // 10)
        order = sorted(pairs, key=lambda first: (means[first], first))
        kept += [image for first in order[hardest : hardest + count // 2] for image in (first, first + 1)]
    return sorted(kept)


@given(
    values=st.lists(st.integers(-5, 5), min_size=12, max_size=12),
    share=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
    data=st.data(),
)
def test_survivors_are_those_of_the_slow_version(values: list[int], share: float, data: st.DataObject) -> None:
    aum, labels = torch.tensor(values, dtype=torch.float64), torch.tensor([0] * 6 + [1] * 2 + [2] * 4)
    counts = tuple(2 * data.draw(st.integers(1, count // 2)) for count in COUNTS)
    found = keep_indices(aum, labels, counts=counts, method="double-end", hard_share=share, copies=2)
    assert found.tolist() == obvious(aum, labels, counts, share)
    for method, of in (("hard", 1.0), ("easy", 0.0)):
        found = keep_indices(aum, labels, counts=counts, method=method, copies=2)  # type: ignore[arg-type]
        assert found.tolist() == obvious(aum, labels, counts, of)


def test_every_method_keeps_pairs_that_a_container_takes() -> None:
    whole, aum = container(), torch.randn(12, generator=torch.Generator().manual_seed(4))
    for method in METHODS:
        generator = torch.Generator().manual_seed(0)
        found = keep_indices(
            aum, whole.labels, counts=(4, 2, 2), method=method, hard_share=0.3, generator=generator, copies=2
        )
        assert whole.keep(found).shape.images_per_class == (4, 2, 2)
        with pytest.raises(UserError, match="keep=3: every image is shown 2 times; choose a multiple of 2"):
            keep_indices(aum, whole.labels, counts=(3, 2, 2), method=method, generator=generator, copies=2)


def test_counts_are_of_whole_pairs() -> None:
    assert container().shape.images_per_class == COUNTS
    assert counts_at_rate(COUNTS, 0.0, 2) == COUNTS
    assert counts_at_rate(COUNTS, 0.4, 2) == (4, 2, 4)  # of 3, 1 and 2 that are stored, 1, 0 and 0 go
    assert counts_at_rate(COUNTS, 0.5, 2) == (4, 2, 2)
    assert counts_at_rate(COUNTS, 0.99, 2) == (2, 2, 2)
    assert counts_to(COUNTS, 4, 2) == (4, 2, 4)
    for count, words in ((3, "3 images per class: .* choose a multiple of 2"), (8, "expected 1..6"), (0, "1..6")):
        with pytest.raises(UserError, match=words):
            counts_to(COUNTS, count, 2)


def test_as_many_pairs_as_the_budget_holds() -> None:
    shape = FrequencyShape.plan(Budget(num_classes=3, image_shape=(1, 8, 8), floats=3 * 64), coefficients=9, views=2)
    assert shape.images_per_class == (14,) * 3
    larger, over = enlarged_shape(shape, "10%", data="digits", ipc=1)
    assert (larger.images_per_class, over.in_budget, over.images) == ((16,) * 3, 14, 16)
    assert over.excess_floats == 3 * 8 * 9 - 192
    assert enlarged_shape(shape, "30%", data="digits", ipc=1)[1].images == 18  # 2 more of 7
    with pytest.raises(UserError, match="15 images of a class: with 2 views they come in pairs; choose an even number"):
        enlarged_shape(shape, "15", data="digits", ipc=1)
    norm = Normalisation((0.5,), (0.25,))
    whole = Frequency(larger, class_names=("a", "b", "c"), normalisation=norm)
    check_prunable(whole)
    assert counts_in_budget(whole) == (14,) * 3


def test_a_folder_over_its_budget_is_pruned_into_it_by_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "over", tmp_path / "within"
    assert main([*DIGITS, "--over-budget", "10%", "--dtype", "int8", "--out", str(run)]) == 0
    assert info(run).shape.images_per_class == (18,) * 10 and info(run).ledger.num_floats == 720
    assert price_of_an_image(run) == (4.0, "")
    assert main(["profile", str(run), "--epochs", "2", "--width", "4"]) == 0
    assert main(["prune", str(run), "--out", str(out), "--beta", "0.3"]) == 0
    assert info(out).shape.images_per_class == (16,) * 10
    assert info(out).ledger.num_floats == info(out).ledger.budget == 640
    kept = json.loads((out / "pruning.json").read_text())["kept"]
    assert kept == obvious(load_profile(run, sha256=None).aum, load(run).labels, (16,) * 10, 0.3)
    assert torch.equal(load(out).pixels, load(run).pixels[kept])
    assert torch.allclose(load(out).pixels[1::2], load(out).pixels[::2].flip(3), atol=1e-5)
    for name, more, left in (("a", ["--rate", "0.5"], 10), ("b", ["--to", "4"], 4)):
        small = str(tmp_path / name)
        assert main(["prune", str(run), "--out", small, "--method", "random", *more]) == 0
        assert info(Path(small)).shape.images_per_class == (left,) * 10
    refused(
        capsys, ["prune", str(run), "--out", str(tmp_path / "x"), "--method", "random", "--to", "5"], "multiple of 2"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "31"], ("31 images of a class", "choose an even number")),
        (["--over-budget", "17"], ("17 images of a class", "choose an even number")),
        (["--sizes.views", "3"], ("3 views of an image", "expected 1, or 2")),
        (["--sizes.views", "0"], ("sizes.views 0", "at least 1")),
        (["--container", "pixels"], ("sizes.",)),
    ],
)
def test_mistakes(flags: list[str], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = list(DIGITS)
    if flags[0] == "--sizes.views":
        place = command.index("--sizes.views")
        del command[place : place + 2]
    if flags[0] == "--container":
        command[command.index("frequency")] = flags[1]
        flags = []
    refused(capsys, [*command, *flags, "--out", str(tmp_path / "new")], *words)
    assert not (tmp_path / "new").exists()
