"""The made-up data sets and the cache of the readers' tests."""

from tests.data.conftest import make_tree, own_cache

__all__ = ["make_tree", "own_cache"]
