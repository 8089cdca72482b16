"""Nested settings: every field is a flag, a variable and a TOML key, and the nearest source wins."""

from dataclasses import asdict
from pathlib import Path

import pytest

from hmn.cli.flags import MethodFlags, Tables
from hmn.errors import UserError
from hmn.recipes.named import RECIPES, recipe
from hmn.recipes.settings import Recipe
from hmn.recipes.values import changed, given_environment, given_file, recipe_to_toml, settings_of

BASE = recipe("quick", dataset="digits", ipc=10, image_shape=(1, 8, 8))


def leaves(table: dict, prefix: str = "") -> dict:
    found = {}
    for key, value in table.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found


def test_settings_are_the_leaves_of_the_recipe() -> None:
    paths = [path for path in settings_of(Recipe) if path != "sizes"]  # an open table
    assert paths == list(leaves(asdict(BASE)))
    assert "condense.network.width" in paths


def test_flags_that_were_not_given_are_absent() -> None:
    assert MethodFlags().given() == {}
    assert MethodFlags(tables=Tables(condense={"lr": "0.5"})).given() == {"condense.lr": 0.5}


def test_values_are_set_at_any_depth_and_the_name_tells() -> None:
    result = changed(BASE, {"condense.network.width": 8, "condense.lr": 0.5, "seed": 3})
    assert (result.condense.network.width, result.condense.lr, result.seed) == (8, 0.5, 3)
    assert result.name == "quick-changed"
    assert result.cost == f"see --dry-run; quick as it stands: {BASE.cost}"
    assert result.condense.epochs == BASE.condense.epochs


def test_seed_and_evaluation_do_not_change_the_name() -> None:
    assert changed(BASE, {"seed": 3, "evaluate.seeds": 1}).name == "quick"
    assert changed(BASE, {"condense.lr": BASE.condense.lr}).name == "quick"


def test_environment_is_converted_by_type() -> None:
    found = given_environment(
        {
            "HMN_CONDENSE_LR": "0.5",
            "HMN_CONDENSE_NETWORK_WIDTH": "none",
            "HMN_CONDENSE_START_KIND": "noise",
            "HMN_EVALUATE_SEEDS": "2",
            "HMN_SEED": "5",
            "HMN_IPC": "10",
            "HMN_DATA": "/somewhere",
            "PATH": "/bin",
        }
    )
    assert found == {
        "condense.lr": 0.5,
        "condense.network.width": None,
        "condense.start.kind": "noise",
        "evaluate.seeds": 2,
        "seed": 5,
        "ipc": 10,
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HMN_CONDENSE_LRR", "1", "did you mean HMN_CONDENSE_LR?"),
        ("HMN_SEED", "one", "expected a whole number"),
        ("HMN_CONDENSE_EPOCHS", "1.5", "expected a whole number"),
        ("HMN_CONDENSE_OBJECTIVE", "grad", "expected one of distribution, features"),
        ("HMN_CONDENSE_NETWORK_WIDTH", "wide", 'expected a whole number or "none"'),
    ],
)
def test_environment_mistakes(name: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        given_environment({name: value})
    assert name in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_written_recipe_reads_back(name: str, tmp_path: Path) -> None:
    written = recipe(name, dataset="cifar100", ipc=1, image_shape=(3, 32, 32))
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(written))
    values = given_file(tmp_path / "recipe.toml")
    tables = {key: value for key, value in asdict(written).items() if key != "settings"}
    tables[written.condense.objective] = dict(written.settings)
    assert values == {path: value for path, value in leaves(tables).items() if value is not None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[condense]\nlearning_rate = 1",
            "no setting is called condense.learning_rate: did you mean condense.",
        ),
        ("[condense]\nlr = 'fast'", "condense.lr: got 'fast', expected a number"),
        ("[condense]\nepochs = 2.5", "condense.epochs: got 2.5, expected a whole number"),
        ("[condense]\nepochs = true", "got True, expected a whole number"),
        ("[condense", "not a TOML file"),
    ],
)
def test_file_mistakes(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        given_file(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        given_file(tmp_path / "absent.toml")


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[condense]\nlr = 1")
    (value,) = given_file(path).values()
    assert value == 1.0 and isinstance(value, float)
