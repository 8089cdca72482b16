"""`hmn list`: everything that may be named, and the settings of each."""

import json

import pytest

from hmn.cli.flags import LISTED, On
from hmn.cli.main import main
from hmn.containers.artifact.run_data import Split
from hmn.measure.codec import FORMATS
from hmn.measure.coresets import CORESETS
from hmn.nets.build import NET_NAMES
from hmn.pruning.survivors import METHODS
from hmn.recipes.kinds import CONTAINERS, OBJECTIVES
from hmn.recipes.named import RECIPES
from hmn.recipes.protocols import PROTOCOLS
from tests.cli.test_main import refused


def test_everything_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {kind: tuple(lines) for kind, lines in found.items()} == {
        "recipes": RECIPES,
        "containers": CONTAINERS.names(),
        "objectives": OBJECTIVES.names(),
        "networks": NET_NAMES,
        "protocols": tuple(PROTOCOLS),
    }
    assert all(line for lines in found.values() for line in lines.values())
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for lines in found.values() for name in lines)


def test_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Found in the text of files, without their torch."""
    assert (LISTED["networks"], LISTED["codecs"], On) == ((*NET_NAMES, "timm/NAME"), FORMATS, Split)
    assert (LISTED["coresets"], LISTED["prunings"], LISTED["containers"]) == (CORESETS, METHODS, CONTAINERS.names())
    for verb, kinds in {"compare": ("codecs", "coresets", "containers"), "evaluate": ("codecs", "dtypes")}.items():
        assert main([verb, "--help"]) == 0
        words = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert all(", ".join(LISTED[kind]) in words for kind in (*kinds, "networks"))
        assert ", ".join(PROTOCOLS) in words and "{" not in words


def test_one_says_what_it_is_and_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    of_files = (*CONTAINERS.names(), *OBJECTIVES.names())
    for name in (*RECIPES, *of_files, *NET_NAMES, *PROTOCOLS, "condense", "evaluate"):
        assert main(["list", name]) == 0
        assert capsys.readouterr().out.startswith(f"{name}, of the ")
    assert main(["list", "frequency"]) == 0
    text = capsys.readouterr().out
    assert "--sizes.views  a whole number (default: 1). 1, or 2, which also shows every image mirrored" in text
    assert main(["list", "condense"]) == 0
    assert "--condense.network.trained-on  one of real, generated (default: real)." in capsys.readouterr().out
    refused(capsys, ["list", "idc-2"], "nothing is called so", "did you mean idc")
