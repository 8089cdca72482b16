"""Artifacts: what is written is counted, stated, and loads to the bit."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import hmn
from hmn.containers.artifact.load import info
from hmn.containers.artifact.place import CONTAINER
from hmn.containers.artifact.save import save
from hmn.containers.hmn import Hmn
from hmn.containers.hmn_sizes import HmnShape
from hmn.data.source import Normalisation, Source
from hmn.recipes.settings import Recipe

NAMES = ("ant", "be|e", "crab\nnewline")
RECIPE = Recipe(name="tiny", cost="a moment", ipc=1)
FACTS = {"versions": "torch 2", "commit": "abc123"}


def small(extractor: bool = True, channels: int = 3) -> HmnShape:
    return HmnShape(
        image_shape=(channels, 16, 16),
        memory_size=2,
        dataset_channels=6,
        class_channels=3,
        instance_channels=20,
        images_per_class=(3, 1, 4),
        extractor=extractor,
        budget=30_000,
    )


def make(shape: HmnShape, seed: int = 0) -> Hmn:
    channels = shape.image_shape[0]
    norm = Normalisation((0.5, 0.4, 0.3)[:channels], (0.2, 0.3, 0.25)[:channels])
    net = Hmn(shape, class_names=NAMES, normalisation=norm, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for layer in net.norms:
            layer.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(seed))
    return net


def write(out: Path, container: Hmn | None = None, **options: Any) -> Path:
    out.mkdir(exist_ok=True)
    container = container or make(small())
    save(container, out, **{"recipe": RECIPE, "data_name": "beasts", "facts": FACTS, **options})
    return out


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("artifact"))


@pytest.mark.parametrize("extractor", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_float32_pixels_are_the_containers_to_the_bit(extractor: bool, channels: int, tmp_path: Path) -> None:
    container = make(small(extractor, channels))
    write(tmp_path, container)
    images = hmn.load(tmp_path)
    assert torch.equal(images.pixels, container.finalised().render_all())
    assert images.labels.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert images.class_names == NAMES and images.normalisation == container.normalisation
    final, stored = container.finalised().state_dict(), hmn.load_container(tmp_path).state_dict()
    assert final.keys() == stored.keys() and all(torch.equal(final[name], stored[name]) for name in final)


@pytest.mark.parametrize(("dtype", "mean_steps"), [("float16", 0.1), ("int8", 2.0), ("int4", 30.0)])
def test_what_a_smaller_dtype_costs_is_measured_and_stated(dtype: Any, mean_steps: float, tmp_path: Path) -> None:
    container = make(small())
    write(tmp_path, container, dtype=dtype)
    images, ledger = hmn.load(tmp_path), json.loads((tmp_path / "ledger.json").read_text())
    difference = (images.pixels - container.finalised().render_all()).abs()
    assert 0 < 255 * float(difference.mean()) < mean_steps
    stated = ledger["quantisation_error"]
    assert stated["mean"] == pytest.approx(float(difference.mean()), rel=1e-5)
    assert stated["max"] == float(difference.max())
    assert info(tmp_path).quantisation_error == stated
    assert f"{255 * stated['mean']:.3g} of 255 steps" in (tmp_path / "README.md").read_text()
    assert all(value.dtype == torch.float32 for value in hmn.load_container(tmp_path).state_dict().values())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int4"])
def test_ledger_counts_what_is_in_the_file(dtype: Any, tmp_path: Path) -> None:
    container = make(small())
    write(tmp_path, container, dtype=dtype)
    content = (tmp_path / CONTAINER).read_bytes()
    tensors = safetensors.torch.load(content)  # any safetensors reader opens it
    ledger, found = json.loads((tmp_path / "ledger.json").read_text()), info(tmp_path)
    value_bytes = sum(t.numel() * t.element_size() for t in tensors.values())
    assert ledger["value_bytes"] == found.value_bytes == value_bytes
    assert ledger["file_bytes"] == found.file_bytes == len(content)
    assert ledger["sha256"] == found.checksum == hashlib.sha256(content).hexdigest()
    assert ledger["num_floats"] == sum(p.numel() for p in container.parameters()) == found.ledger.num_floats
    assert ledger["stored_floats"] == sum(v.numel() for v in container.finalised().state_dict().values())
    assert ledger["num_floats"] == sum(part["num_floats"] for part in ledger["parts"])
    assert ledger["images"] == 8 and ledger["dtype"] == found.dtype == dtype
    biases = sum(v.numel() for name, v in tensors.items() if name.endswith("bias"))
    per_value = {"float32": 4, "float16": 2, "int8": 1, "int4": 0.5}[dtype]
    extra = ledger["scale_bytes"] + (4 - per_value) * biases if dtype in ("int8", "int4") else 0
    assert ledger["value_bytes"] == per_value * ledger["stored_floats"] + extra
    assert ledger["format_version"] == found.format_version == (3 if dtype == "int4" else 1)


def test_card_preview_and_recipe_are_there(good: Path) -> None:
    card = (good / "README.md").read_text()
    assert card.startswith("---\n") and "- dataset-condensation" in card
    assert 'hmn.load("path/to/this/folder")' in card and "commit | abc123" in card and "tiny, seed 0" in card
    assert "be\\|e, crab newline." in card
    with Image.open(good / "preview.png") as preview:
        assert preview.mode == "RGB" and preview.height >= 3 * 96
    assert 'name = "tiny"' in (good / "recipe.toml").read_text()
    files = {"README.md", CONTAINER, "ledger.json", "preview.png", "recipe.toml"}
    assert {path.name for path in good.iterdir()} == files


def test_over_budget_is_said_on_the_card(tmp_path: Path) -> None:
    write(tmp_path, make(replace(small(), budget=100)))
    assert "floats over the budget of 100" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["float32", "int8", "int4"])
def test_same_container_same_bytes(dtype: Any, tmp_path: Path) -> None:
    write(tmp_path / "a", dtype=dtype)
    write(tmp_path / "b", make(small()).finalised(), dtype=dtype, facts=dict(reversed(FACTS.items())))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    write(tmp_path / "c", make(small(), seed=1), dtype=dtype)
    assert (tmp_path / "c" / CONTAINER).read_bytes() != (tmp_path / "a" / CONTAINER).read_bytes()


def test_header_is_the_same_in_another_process(good: Path, tmp_path: Path) -> None:
    code = f"from test_save import write, Path; write(Path({str(tmp_path / 'other')!r}))"
    prelude = "import sys; sys.path[:0] = " + repr([str(Path(__file__).parent), *sys.path]) + "; "
    subprocess.run([sys.executable, "-c", prelude + code], check=True)
    for file in good.iterdir():
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes(), file.name


def test_expected_shapes_are_the_containers() -> None:
    for extractor in (False, True):
        state = make(small(extractor)).finalised().state_dict()
        assert {name: tuple(v.shape) for name, v in state.items()} == small(extractor).tensors()


def test_save_refuses(tmp_path: Path) -> None:
    with pytest.raises(hmn.UserError, match="no such folder"):
        save(make(small()), tmp_path / "none", recipe=RECIPE, data_name="", facts={})
    with pytest.raises(hmn.UserError, match="dtype='int2'"):
        write(tmp_path, dtype="int2")
    huge = make(small()).finalised()
    huge.dataset_memory.data[0, 0, 0] = 1e6
    with pytest.raises(hmn.UserError, match=r"dataset_memory holds .* too large for float16"):
        write(tmp_path, huge, dtype="float16")
    huge.dataset_memory.data[0, 0, 0] = float("nan")
    with pytest.raises(hmn.UserError, match=r"dataset_memory holds .* diverged"):
        write(tmp_path, huge)
    assert not list(tmp_path.iterdir())


def test_dataset_trains_a_network_in_one_line(good: Path) -> None:
    images = hmn.load(str(good), normalise=True)
    assert isinstance(images, Source) and isinstance(images, torch.utils.data.Dataset)
    assert len(images) == 8 and images.image_shape == (3, 16, 16)
    assert len([label for _, label in DataLoader(images, batch_size=None)]) == 8
    image, label = images[5]
    assert type(label) is int and label == 2
    assert torch.equal(image, images.normalisation.apply(images.pixels[5:6])[0])
    assert torch.equal(images.images(torch.tensor([5]))[0], images.pixels[5])
    raw = hmn.load(good / CONTAINER)
    assert torch.equal(raw[5][0], images.pixels[5])
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3))
    for batch, labels in DataLoader(raw, batch_size=4):
        nn.functional.cross_entropy(net(batch), labels).backward()
    assert pickle.loads(pickle.dumps(images)).labels.tolist() == images.labels.tolist()  # for workers


def test_loading_needs_only_torch_numpy_and_safetensors(good: Path) -> None:
    blocked = ["PIL", "cyclopts", "rich", "tomli_w", "platformdirs", "pyarrow", "torchvision", "matplotlib"]
    code = f"import sys; sys.path[:] = {sys.path!r}; sys.modules.update(dict.fromkeys({blocked!r}));"
    code += f"import hmn; print(len(hmn.load({str(good)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "8\n", done.stderr


def test_importing_hmn_does_not_import_torch() -> None:
    code = f"import sys; sys.path[:] = {sys.path!r}; import hmn; dir(hmn); hmn.__version__, hmn.UserError;"
    code += "print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
    with pytest.raises(AttributeError, match="nonsense"):
        hmn.nonsense  # noqa: B018
