from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hmn.data.folders as folders
from hmn.data.cache import cached, files_checksum, key_of, load_decoded, store_decoded
from hmn.data.formats import Decoded, Labelled
from hmn.data.load import load_data
from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.runtime.files import cache_folder
from tests.data.pictures import picture


def decoded() -> Decoded:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)
    return Decoded(Labelled(pixels, np.arange(6) % 2), Labelled(pixels[:2, ::-1], np.arange(2)), ("ü", "b"), 5)


def assert_equal(a: Decoded, b: Decoded) -> None:
    assert a.class_names == b.class_names and a.skipped == b.skipped
    for mine, other in zip([*a.train, *(a.test or ())], [*b.train, *(b.test or ())], strict=True):
        assert mine.dtype == other.dtype and np.array_equal(mine, other)


def test_store_and_load_return_the_same(tmp_path: Path) -> None:
    store_decoded(decoded(), tmp_path / "a.safetensors")
    assert_equal(load_decoded(tmp_path / "a.safetensors"), decoded())  # type: ignore[arg-type]
    unsplit = decoded()._replace(test=None)
    store_decoded(unsplit, tmp_path / "b.safetensors")
    assert load_decoded(tmp_path / "b.safetensors").test is None  # type: ignore[union-attr]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_damaged_entries_are_rebuilt(damage: str, own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def read() -> Decoded:
        calls.append(1)
        return decoded()

    cached("k", [], DataOptions(), read)
    cached("k", [], DataOptions(), read)
    assert len(calls) == 1
    path = next(own_cache.glob("*.safetensors"))
    good = path.read_bytes()
    flipped = good[:-3] + bytes([good[-3] ^ 1]) + good[-2:]
    path.write_bytes({"flip": flipped, "cut": good[:-9], "empty": b"", "foreign": b"x" * 99}[damage])
    with caplog.at_level(logging.WARNING):
        assert_equal(cached("k", [], DataOptions(), read), decoded())
    assert len(calls) == 2 and "damaged cache file" in caplog.text
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HMN_CACHE", str(tmp_path / "file" / "cache"))
    assert_equal(cached("k", [], DataOptions(), decoded), decoded())
    assert "cannot write the cache" in caplog.text


def test_disabled_cache_writes_nothing(own_cache: Path) -> None:
    cached("k", [], DataOptions(cache=False), decoded)
    assert not own_cache.exists()


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    store_decoded(decoded(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store_decoded(decoded(), tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_old_leftovers_are_removed_and_young_ones_are_not(tmp_path: Path) -> None:
    for name, age in (("old.tmp", 2 * 86400), ("young.tmp", 60)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    store_decoded(decoded(), tmp_path / "a.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "young.tmp"]


def test_fingerprint_follows_names_and_bytes_and_not_times(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two")
    first = files_checksum([("a", a), ("b", b)], skip_bad=False)
    os.utime(a, (0, 0))
    assert files_checksum([("a", a), ("b", b)], skip_bad=False) == first
    assert files_checksum([("c", a), ("b", b)], skip_bad=False) != first
    stat = b.stat()
    b.write_bytes(b"TWO")
    os.utime(b, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert files_checksum([("a", a), ("b", b)], skip_bad=False) != first
    with pytest.raises(UserError, match="none: cannot read the file"):
        files_checksum([("n", tmp_path / "none")], skip_bad=False)


def test_every_option_that_changes_the_result_changes_the_key() -> None:
    variants = [
        DataOptions(),
        DataOptions(size=3),
        DataOptions(channels=3),
        DataOptions(skip_bad=True),
        DataOptions(image_column="3"),
        DataOptions(label_column="3"),
    ]
    assert len({key_of("k", "c", options) for options in variants}) == len(variants)
    assert key_of("k", "c", DataOptions(progress=True)) == key_of("k", "c", DataOptions())


def test_cache_folder_is_the_platforms_unless_told(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.delenv("HMN_CACHE")
    assert cache_folder().name in ("hmn", "Cache")


def test_a_second_load_decodes_nothing_and_an_edit_decodes_again(
    make_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree({"a": 5, "b": 5})
    first = load_data(str(root))
    calls: list[int] = []
    real = folders.decode_listing

    def spy(*given: object, **named: object) -> Decoded:
        calls.append(1)
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(folders, "decode_listing", spy)
    assert load_data(str(root)).train.pixels.equal(first.train.pixels) and not calls
    load_data(str(root), DataOptions(split_seed=3))
    assert not calls, "the split is made after the cache"
    picture(99).save(root / "a" / "000.png")
    changed = load_data(str(root))
    assert calls and not changed.train.pixels.equal(first.train.pixels)


LOADER = """
import sys
from hmn.data.load import load_data
splits = load_data(sys.argv[1])
print(len(splits.train), int(splits.train.pixels.long().sum()))
"""


def test_two_processes_at_once_agree_and_leave_one_whole_entry(make_tree: Callable[..., Path], own_cache: Path) -> None:
    root = make_tree({"a": 60, "b": 60}, side=32)
    source = str(Path(folders.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", LOADER, str(root)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], results
    assert results[0] == results[1] and results[0][1] == ""
    splits = load_data(str(root))
    assert results[0][0].split() == [str(len(splits.train)), str(int(splits.train.pixels.long().sum()))]
    (entry,) = own_cache.iterdir()
    assert entry.suffix == ".safetensors" and load_decoded(entry) is not None
