"""The order of imports and the form of the code, checked on the source itself."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "hmn"

# A module imports only from rows above its own; a package is one group with itself.
LEVELS = (
    ("errors",),
    ("runtime", "recipes", "nets"),
    ("data",),
    ("containers", "train"),
    ("condensation", "measure"),
    ("pruning",),
    ("studies",),
    ("report",),
    ("cli",),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
ENTRIES = ("__init__", "__main__")  # hand on what lies below, so they may name any module
TORCH_FREE = ("hmn", "hmn.errors", "hmn.recipes.named", "hmn.recipes.settings", "hmn.cli.main", "hmn.cli.flags")
MODULES = sorted(SOURCE.rglob("*.py"))
IDS = [path.relative_to(SOURCE).as_posix() for path in MODULES]
MAX_LINES = 300
MAX_FUNCTION_LINES = 120
MAX_FILES_OF_A_CONDENSATION = 21
DOCUMENTS = [ROOT / "README.md", *(path for path in (ROOT / "docs").glob("*.md") if path.name != "log.md")]


def group_of(path: Path) -> str:
    """The first name below hmn: a module, or the package that it lies in."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_groups(tree: ast.AST) -> set[str]:
    """Groups of hmn that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("hmn.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            parts = (node.module or "").split(".")
            if parts[0] == "hmn":
                found |= {parts[1]} if len(parts) > 1 else {name.name for name in node.names}
    return found & LEVEL_OF.keys()


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_imports_go_one_way(path: Path) -> None:
    group = group_of(path)
    if group in ENTRIES:
        return
    assert group in LEVEL_OF, f"{group} has no place in LEVELS: give it one"
    for other in imported_groups(ast.parse(path.read_text())) - {group}:
        assert LEVEL_OF[other] < LEVEL_OF[group], f"{path.name} imports {other}, which is not above it"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.stat().st_size:
        assert ast.get_docstring(tree), "the module says nothing about itself"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_every_group_of_the_order_exists() -> None:
    present = {group_of(path) for path in MODULES}
    assert LEVEL_OF.keys() - present == set(), "LEVELS names modules that are gone"


def test_no_module_is_named_after_nothing() -> None:
    banned = {"utils", "util", "common", "misc", "helpers", "args"}
    assert not banned & {part for path in MODULES for part in path.relative_to(SOURCE).with_suffix("").parts}


def test_the_command_line_imports_no_torch() -> None:
    code = f"import contextlib, io, sys\nfor name in {TORCH_FREE!r}: __import__(name)\n"
    code += "from hmn.cli.main import VERBS, main\n"
    code += "with contextlib.redirect_stdout(io.StringIO()):\n"
    code += "    for verb in VERBS: assert main([verb, '--help']) == 0\n"
    heavy = ("torch", "torchvision", "timm", "pyarrow", "matplotlib", "PIL")
    code += f"print([name for name in {heavy!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_import_check_can_fail() -> None:
    assert imported_groups(
        ast.parse("from hmn import nets\nimport hmn.cli.main\nfrom hmn.data.real import RealData")
    ) == {
        "nets",
        "cli",
        "data",
    }


def test_a_condensation_leads_through_few_files_which_the_document_names(tmp_path: Path) -> None:
    """`runtime/` is not counted: it serves a run and does not lead anywhere."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    command = [sys.executable, str(Path(__file__).with_name("follow_condense.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    way = [line for line in done.stdout.splitlines() if line.endswith(".py") and not line.startswith("runtime/")]
    assert "condensation/loop.py" in way and len(way) <= MAX_FILES_OF_A_CONDENSATION
    assert [file for file in way if f"`{file}`" not in (ROOT / "docs" / "architecture.md").read_text()] == []


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_docstrings_say_what_a_thing_is(path: Path) -> None:
    """None begins with a part of something that is not named."""
    assert re.findall(r'"""Of ', path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_long_functions_say_where_the_next_thought_begins(path: Path) -> None:
    """A function of more than 15 lines, its docstring not counted, has a comment."""
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            inside = lines[body[0].lineno - 1 : body[-1].end_lineno] if body else []
            assert len(inside) <= 15 or any("# " in line for line in inside), f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", [*MODULES, *DOCUMENTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_in_documents_exist(path: Path) -> None:
    """Every `hmn.X.Y` between backticks can be imported; docs/log.md tells of what was."""
    for name in re.findall(r"`(hmn(?:\.[A-Za-z_]+)+)", path.read_text()):
        assert is_importable(name), f"{path.name} names {name}, which does not exist"


def test_files_that_the_document_names_exist() -> None:
    named = re.findall(r"`([\w/.]+(?:\.py|/))`", (ROOT / "docs" / "architecture.md").read_text())
    assert named and [name for name in named if not any((place / name).exists() for place in (SOURCE, ROOT))] == []


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module, or lies in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_name_check_can_fail() -> None:
    assert is_importable("hmn.containers.hmn.Hmn.images") and not is_importable("hmn.containers.hmn.absent")
