"""Recipes by name: every published number where it belongs, and what docs/methods.md says they come to."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from hmn.cli.main import main
from hmn.condensation.check import check_recipe
from hmn.condensation.cost.price import Estimate, Price
from hmn.containers.choose import choose_shape
from hmn.data.known_sizes import PUBLISHED
from hmn.data.source import NORMALISATIONS
from hmn.errors import UserError
from hmn.recipes.cpu import SWEEPS
from hmn.recipes.named import ALIASES, RECIPES, recipe, whole_recipe
from hmn.recipes.parts import Fitted, in_pixels
from hmn.recipes.protocols import protocol
from hmn.recipes.settings import Recipe
from hmn.recipes.values import completed, content, given_file, objective_settings, recipe_to_toml
from hmn.studies.sweep.grid import read_flags
from hmn.train.loop import learning_rate

METHODS = ("dc", "dsa", "dm", "idc-i", "idc", "mtt", "haba", "linba", "hmn", "ddif")
SHORT = ("dsa-cpu", "dm-cpu", "idc-i-cpu", "idc-cpu", "haba-cpu", "linba-cpu", "hmn-cpu", "ddif-cpu")
SIZES = {**{name: size[:2] for name, size in PUBLISHED.items()}, "digits": ((1, 8, 8), 10)}
TABLES = Path(__file__).parents[2] / "docs" / "methods.md"


def made(name: str, dataset: str = "cifar10", ipc: int = 1, minutes: float | None = None) -> Recipe:
    shape, classes = SIZES[dataset]
    std = {"std": NORMALISATIONS[dataset].std} if dataset in NORMALISATIONS else {}
    return recipe(name, dataset=dataset, ipc=ipc, image_shape=shape, num_classes=classes, **std, minutes=minutes)


def three(name: str, dataset: str = "cifar10") -> list[Recipe]:
    return [made(name, dataset, ipc) for ipc in (1, 10, 50)]


def test_every_method_has_its_name() -> None:
    assert set(RECIPES) == {"quick", "fast", *METHODS, *SHORT}
    assert set(SHORT) == set(SWEEPS) and all(name.removesuffix("-cpu") in METHODS for name in SHORT)
    for name in RECIPES:
        assert made(name).name == name and made(name).cost


@pytest.mark.parametrize("ipc", [1, 10, 50])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn", "tiny-imagenet", "digits"])
def test_every_recipe_fits_every_data_set(dataset: str, ipc: int) -> None:
    shape, classes = SIZES[dataset]
    for name in RECIPES:
        found = made(name, dataset, ipc)
        if dataset == "digits" and ipc == 1 and found.container not in ("pixels", "mosaic"):
            continue  # 64 floats a class hold none of the others
        chosen = choose_shape(
            dataset, ipc, image_shape=shape, num_classes=classes, container=found.container, sizes=found.sizes
        )
        assert chosen.shape.ledger().num_floats <= chosen.shape.budget
        if ipc == 10:  # networks are built, which takes a while
            check_recipe(found, image_shape=shape, num_classes=classes)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_to_toml_and_back(name: str, tmp_path: Path) -> None:
    found = made(name, "cifar100", 10)
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(found))
    assert whole_recipe(given_file(tmp_path / "recipe.toml")) == completed(found)


def test_dc_and_dsa() -> None:
    for dc, dsa, (outer, inner), batches in zip(
        three("dc"), three("dsa"), ((1, 1), (10, 50), (50, 10)), (1, 50, 20), strict=True
    ):
        found, network = dsa.condense, dsa.condense.network
        assert (found.epochs, found.inner_steps, network.update_batches) == (1000, outer, batches)
        assert batches == inner * (1 if dsa.ipc < 50 else 2)  # 500 images are two batches of at most 256
        assert (found.objective, found.distance, found.real_per_class) == ("gradient", "cosine", 256)
        assert (found.optimizer, found.momentum, found.schedule) == ("sgd", 0.5, "constant")
        assert (network.trained_on, network.update_batch_size, network.lr) == ("generated", 256, 0.01)
        assert (network.momentum, network.weight_decay, network.cutmix_probability) == (0, 0, 0)
        assert (dc.condense.start.kind, dsa.condense.start.kind) == ("noise", "real")
        assert (dc.condense.augment.strategy, dsa.condense.augment.at_once) == ("none", "one")
        assert set(found.augment.strategy.split("_")) == {"color", "crop", "cutout", "flip", "scale", "rotate"}
        assert (dc.evaluate.protocol, dsa.evaluate.protocol) == ("dc", "dsa")
        assert replace(found, augment=dc.condense.augment, start=dc.condense.start) == dc.condense
    assert [made("dsa", ipc=ipc).condense.inner_steps for ipc in (20, 30, 40, 45, 100)] == [20, 30, 40, 50, 50]
    assert made("dc", "cifar100", 10).condense.network.update_batches == 50 * 4  # 1,000 images


def test_dm() -> None:
    for found in three("dm"):
        condense = found.condense
        assert (condense.objective, condense.num_sweeps, condense.real_per_class) == ("distribution", 20_000, 256)
        assert (condense.inner_steps, condense.network.update_batches, condense.network.warm_up_batches) == (1, 0, 0)
        assert (condense.augment.at_once, condense.start.kind, condense.momentum) == ("one", "real", 0.5)


def test_rates_of_normalised_images_are_converted_by_the_variance() -> None:
    fitted = Fitted(dataset="x", ipc=1, image_shape=(3, 32, 32), num_classes=10, std=(0.5, 0.5, 0.25))
    assert in_pixels(1.0, fitted) == 0.19  # the mean of 0.25, 0.25 and 0.0625 is 0.1875
    variance = sum(s * s for s in NORMALISATIONS["cifar10"].std) / 3
    for name, published in (("dsa", 0.1), ("dm", 1.0), ("mtt", 100.0)):
        assert made(name).condense.lr == pytest.approx(published * variance, rel=0.01), name
    assert made("dm", "digits").condense.lr == 0.062  # no deviation said: 0.25


@pytest.mark.parametrize(
    ("dataset", "distance", "rates", "batches"),
    [
        ("cifar10", "squared", (5e-4, 5e-3, 2.5e-2), 32),
        ("svhn", "squared", (5e-4, 5e-3, 2.5e-2), 8),
        ("mnist", "absolute", (1e-5, 1e-4, 5e-4), 8),
        ("imagenet-10", "absolute", (3e-4, 3e-3, 1.5e-2), 8),
    ],
)
def test_idc(dataset: str, distance: str, rates: tuple[float, ...], batches: int) -> None:
    large = dataset == "imagenet-10"
    for found, rate in zip(three("idc", dataset), rates, strict=True):
        condense, network = found.condense, found.condense.network
        assert (condense.distance, condense.lr, condense.momentum) == (distance, pytest.approx(rate), 0.5)
        assert (condense.epochs, condense.inner_steps, condense.step_per) == (500 if large else 2000, 100, "class")
        assert (condense.real_per_class, condense.generated_per_class) == (64, 128)
        assert (network.update_batches, network.lr, network.momentum, network.weight_decay) == (
            batches,
            0.01,
            0.9,
            5e-4,
        )
        assert (network.warm_up_batches > 0, network.trained_on) == (large, "real")
        assert found.sizes["factor"] == (3 if large else 2)
        assert found.sizes.get("bound") == (128 if large and found.ipc == 50 else None)
    plain = made("idc-i", dataset)
    assert (plain.container, plain.sizes, plain.evaluate.protocol) == ("pixels", {}, "idc")
    if dataset != "mnist":  # whose mosaics are augmented otherwise
        assert plain.condense == made("idc", dataset).condense
    assert made("idc", "mnist").condense.augment.strategy == "color_crop"


@pytest.mark.parametrize(
    ("name", "dataset", "ways", "student"),
    [
        ("mtt", "cifar10", ((50, 2, 2), (30, 2, 20), (30, 2, 40)), ((0.01, 1e-7), (0.001, 1e-5), (0.001, 1e-5))),
        ("mtt", "cifar100", ((20, 3, 20), (20, 2, 20), (80, 2, 40)), ((0.01, 1e-5),) * 3),
        ("mtt", "tiny-imagenet", ((10, 2, 10), (20, 2, 40), (20, 2, 40)), ((0.01, 1e-4),) * 3),
        ("mtt", "svhn", ((20, 3, 25),) * 3, ((0.01, 1e-5),) * 3),
        ("haba", "cifar10", ((50, 2, 2), (30, 2, 20), (30, 2, 20)), ((0.01, 1e-7), (0.001, 1e-5), (0.01, 1e-5))),
        ("ddif", "cifar10", ((60, 2, 10), (60, 2, 10), (60, 2, 40)), ((0.01, 1e-5),) * 3),
        ("ddif", "cifar100", ((60, 2, 40),) * 3, ((0.01, 1e-5),) * 3),
    ],
)
def test_trajectories(
    name: str, dataset: str, ways: tuple[tuple[int, int, int], ...], student: tuple[tuple[float, float], ...]
) -> None:
    for found, way, rates in zip(three(name, dataset), ways, student, strict=True):
        own = objective_settings(found)
        assert (own.student_steps, own.expert_epochs, own.max_start_epoch) == way
        assert (own.student_lr, own.student_lr_lr) == rates
        assert (own.experts, own.expert_lr, own.expert_batch) == (100, 0.01, 256)
        assert found.condense.num_sweeps == (5000 if name == "mtt" else 15_000)
        assert (found.condense.objective, found.condense.start.kind) == ("trajectory", "real")
    assert objective_settings(made("mtt", "cifar100", 50)).student_batch == 125
    assert objective_settings(made("mtt", ipc=10)).student_batch == 100
    haba, ddif = made("haba").condense, made("ddif").condense
    assert (haba.optimizer, haba.lr, haba.momentum) == ("sgd", 100, 0.95)
    assert (ddif.optimizer, ddif.lr, ddif.start.lr, ddif.start.steps) == ("adam", 1e-4, 5e-4, 5000)


def test_linba_and_hmn() -> None:
    linba = made("linba")
    own = objective_settings(linba)
    assert (own.student_steps, own.student_per_class, own.student_lr, own.student_momentum) == (150, 32, 0.01, 0.9)
    assert (own.max_norm, linba.condense.lr, linba.condense.momentum) == (2, 0.1, 0.5)
    assert (linba.condense.num_sweeps, linba.condense.real_per_class) == (500_000, 64)
    for dataset, lr, distance in (
        ("cifar10", 0.01, "squared"),
        ("cifar100", 0.02, "absolute"),
        ("svhn", 0.01, "squared"),
        ("tiny-imagenet", 0.01, "absolute"),
    ):
        found = made("hmn", dataset).condense
        assert (found.lr, found.distance, found.epochs, found.inner_steps) == (lr, distance, 1000, 200)
        assert (found.beta1, found.beta2, found.optimizer, found.schedule) == (0.9, 0.99, "adam", "step")
    assert made("hmn").evaluate.protocol == "paper"


@pytest.mark.parametrize(
    ("name", "images", "floats"),
    [
        ("dsa", 10, 30_720),
        ("idc", 40, 30_720),
        ("haba", 30, 26_782),
        ("linba", 1150, 30_688),
        ("hmn", 850, 30_659),
        ("ddif", 370, 29_970),
    ],
)
def test_a_short_version_stores_what_the_method_does(name: str, images: int, floats: int) -> None:
    for found in (made(name), made(name + "-cpu")):
        shape = choose_shape(
            "cifar10", 1, image_shape=(3, 32, 32), num_classes=10, container=found.container, sizes=found.sizes
        ).shape
        assert (shape.num_images, shape.ledger().num_floats) == (images, floats)
    assert made(name + "-cpu").condense.network.width == 32


def test_fast_fills_its_budget_with_sixteen_images_for_each_and_shows_them_mirrored() -> None:
    for dataset, coefficients, views in (
        ("cifar10", 192, 2),
        ("cifar100", 192, 2),
        ("tiny-imagenet", 768, 2),
        ("digits", 64, 1),
        ("svhn", 192, 1),
    ):
        found = made("fast", dataset, 10)
        assert (found.sizes["coefficients"], found.sizes["views"], found.container) == (
            coefficients,
            views,
            "frequency",
        )
        assert objective_settings(found).derivative == "direct" and found.condense.network.width == 32
    shape = choose_shape(
        "cifar10", 1, image_shape=(3, 32, 32), num_classes=10, container="frequency", sizes=made("fast").sizes
    ).shape
    assert shape.images_per_class == (32,) * 10 and shape.ledger().num_floats == 30_720
    assert shape.ledger() == replace(shape, images_per_class=(16,) * 10, views=1).ledger()


def students(found: Recipe) -> tuple[float, ...]:
    own = objective_settings(found)
    way = (own.student_steps, own.differentiate_every, own.student_lr, own.expert_epochs, own.max_start_epoch)
    return (*way, own.experts, own.strayed, own.averaged)


def test_the_dial_of_fast() -> None:
    short, long = (40, 2, 0.1, 8, 26), (100, 5, 0.15, 20, 44)
    assert students(made("fast")) == (*short, 8, 0, 1) and made("fast").condense.epochs == 400
    for minutes, expected in ((1, (8, 0, 1)), (15, (8, 0, 1)), (29.9, (8, 0, 1))):
        assert students(made("fast", minutes=minutes)) == (*short, *expected)
    for minutes, expected in ((30, (4, 4, 8)), (75, (6, 6, 8)), (135, (8, 8, 8)), (1000, (36, 36, 8))):
        assert students(made("fast", minutes=minutes)) == (*long, *expected)
    assert content(made("fast", minutes=15)) == content(made("fast")) and made("fast", minutes=75).minutes == 75
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--minutes .*: expected a number above 0"):
            made("fast", minutes=wrong)
    with pytest.raises(UserError, match="--minutes 15: recipe hmn has no such dial: expected one of fast."):
        made("hmn", minutes=15)


def test_the_former_name_of_a_recipe_still_works() -> None:
    assert ALIASES == {"paper": "hmn"}
    assert content(made("paper")) == content(made("hmn")) and made("paper").name == "hmn"
    with pytest.raises(UserError, match="no recipe is called 'idc-1'.*did you mean idc-i"):
        made("idc-1")


def several(values: list[object]) -> str:
    texts = [
        f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
        for value in values
    ]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def row_of(name: str) -> str:
    found = three(name)
    condense = [each.condense for each in found]
    first = condense[0]
    real = f"{first.real_per_class}" if first.objective not in ("trajectory",) else ""
    one = " (one at a time)" if first.augment.at_once == "one" else ""
    cells = (
        f"`{name}`",
        f"`{found[0].container}`",
        f"`{first.objective}`" + (f", `{first.distance}`" if first.objective == "gradient" else ""),
        f"{several([each.epochs for each in condense])} x {several([each.inner_steps for each in condense])}",
        real,
        f"{first.optimizer} {several([each.lr for each in condense])}",
        str(first.network.width or 128),
        several([each.network.update_batches for each in condense]),
        first.start.kind,
        first.augment.strategy.replace("_", " ") + one,
        f"`{found[0].evaluate.protocol}`",
    )
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", ("fast", *METHODS, *SHORT))
def test_the_tables_of_the_methods_are_the_recipes(name: str) -> None:
    assert row_of(name) in TABLES.read_text().splitlines()


FREE = Estimate(*[0 for _ in Estimate._fields])


@pytest.mark.parametrize("name", (*RECIPES, *ALIASES))
def test_a_dry_run_shows_what_a_recipe_would_do(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("hmn.condensation.job.price", lambda *_: Price(FREE, None))
    command = ["condense", "digits", "--ipc", "10", "--recipe", name, "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (tmp_path / "recipe.toml").write_text(told["recipe_toml"])
    values, expected = given_file(tmp_path / "recipe.toml"), made(name, "digits", 10)
    assert (values["name"], values["container"]) == (expected.name, expected.container)
    assert told["container"] == expected.container and values["cost"] == expected.cost
    if name not in ("dsa", "ddif", "hmn-cpu"):
        return
    # What a run writes is the recipe still when it is read again, and a changed one says so.
    for more, title in (((), expected.name), (("--condense.lr", "7"), expected.name + "-changed")):
        again = [*command[:4], "--config", str(tmp_path / "recipe.toml"), *command[6:], *more, "--json"]
        assert main(again) == 0
        told = json.loads(capsys.readouterr().out)
        assert tomllib.loads(told["recipe_toml"])["name"] == title


def test_another_container_leaves_the_recipes_sizes_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("hmn.condensation.job.price", lambda *_: Price(FREE, None))
    command = ["condense", "digits", "--ipc", "10", "--recipe", "idc", "--out", str(tmp_path), "--dry-run", "--json"]
    assert main([*command, "--container", "hmn"]) == 0
    told = tomllib.loads(json.loads(capsys.readouterr().out)["recipe_toml"])
    assert (told["name"], told["container"], told["sizes"]) == ("idc-changed", "hmn", {})
    assert main([*command[:5], "idc2", *command[6:]]) == 2
    assert "no recipe is called 'idc2'" in capsys.readouterr().err


def test_recipes_vary_in_a_sweep() -> None:
    assert read_flags(["recipe=idc-cpu,haba-cpu,paper"]) == {"recipe": ["idc-cpu", "haba-cpu", "paper"]}
    with pytest.raises(UserError, match="expected one of fast, quick, dc"):
        read_flags(["recipe=idc-gpu"])


@pytest.mark.parametrize(
    ("name", "dataset", "steps", "batch", "decay", "schedule"),
    [
        ("dc", "cifar10", 300, 256, 5e-4, "halfway"),
        ("dsa", "cifar10", 1000, 256, 5e-4, "halfway"),
        ("idc", "cifar10", 1000, 64, 5e-4, "thirds"),
        ("linba", "cifar10", 300, 640, 0, "constant"),
    ],
)
def test_protocols_of_other_methods(
    name: str, dataset: str, steps: int, batch: int, decay: float, schedule: str
) -> None:
    config = protocol(name, dataset, 10)
    assert (config.epochs, config.batch_size, config.weight_decay, config.schedule) == (steps, batch, decay, schedule)
    assert (config.lr, config.momentum, config.cutmix_probability) == (0.01, 0.9, 0.5 if name == "idc" else 0)
    rates = {"halfway": (0.01, 0.001, 0.001), "thirds": (0.01, 0.01, 0.0004), "constant": (0.01,) * 3}[schedule]
    assert tuple(learning_rate(config, step, 600) for step in (0, 300, 500)) == pytest.approx(rates)
    if schedule == "thirds":
        assert learning_rate(config, 400, 600) == pytest.approx(0.002)
        assert "flip" in config.augment.strategy and "flip" not in protocol("idc", "svhn", 1).augment.strategy


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cut to one sweep: what it asks for is there."""
    short = ["--condense.epochs", "1", "--condense.inner-steps", "1", "--condense.network.width", "16"]
    if (objective := made(name, "digits", 10).condense.objective) == "trajectory":
        short += ["--trajectory.experts", "1", "--trajectory.max-start-epoch", "1", "--trajectory.student-steps", "2"]
    elif objective == "unrolled":
        short += ["--unrolled.student-steps", "2"]
    if made(name, "digits", 10).condense.start.steps_for(exact=False):
        short += ["--condense.start.steps", "10"]
    out = str(tmp_path / "out")
    assert main(["condense", "digits", "--ipc", "10", "--recipe", name, "--out", out, *short, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recipe"] == f"{name}-changed" and told["container"] == made(name).container
