"""Flags that several verbs share, each written once; those of settings and of data are made from their definitions."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from cyclopts import Group, Parameter

from hmn.data.options import DataOptions
from hmn.errors import UserError
from hmn.recipes.kinds import CONTAINERS, OBJECTIVES, listed
from hmn.recipes.named import DEFAULT_RECIPE, RECIPES
from hmn.recipes.protocols import PROTOCOLS
from hmn.recipes.published import SMALLER
from hmn.recipes.settings import Dtype, Recipe
from hmn.recipes.values import convert, field_docs, find, flatten, nearest, settings_of

Verb = TypeVar("Verb", bound=Callable[..., int | None])
LISTED = {
    "containers": CONTAINERS.names(),
    "networks": (*listed("nets/build.py", "NET_NAMES"), "timm/NAME"),
    "dtypes": get_args(Dtype),
    "codecs": listed("measure/codec.py", "Format"),
    "coresets": listed("measure/coresets.py", "Selection"),
    "prunings": listed("pruning/survivors.py", "Method"),
}
"""Names that help lists, by what they are names of."""
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A flag that is on or absent."""
Force = Annotated[bool, Parameter(negative=(), show_default=False, help="Write over what is there.")]
Json = Annotated[bool, Parameter(negative=(), show_default=False, help="Print JSON.")]
_DATA = "A data set: a name (digits, cifar10, ...) or a path to class folders, Parquet or .npz."
Data = Annotated[str, Parameter(help=_DATA)]
Folder = Annotated[Path, Parameter(help="A folder that `hmn condense` wrote.")]
Ipc = Annotated[int | None, Parameter(help="Images per class whose floats are the budget.")]
Images = Annotated[int | None, Parameter(help="Generated images per class, in the place of as many as fit.")]
On: Any = Literal[listed("containers/artifact/run_data.py", "Split")]
Coreset: Any = Literal[LISTED["coresets"]]
PruningMethod: Any = Literal[LISTED["prunings"]]
_METHODS = [name for name in RECIPES if f"{name}{SMALLER}" in RECIPES]
_RECIPES = (
    f"Named settings: {', '.join(name for name in RECIPES if not name.endswith(SMALLER))} "
    f"(default: {DEFAULT_RECIPE}); with {SMALLER} ({', '.join(_METHODS)}) about 20 minutes of one thread. "
    "`hmn list NAME` says what each is; docs/methods.md has every number."
)
RecipeName = Annotated[str | None, Parameter(help=_RECIPES)]


def with_names(verb: Verb) -> Verb:
    """The verb with the names that there are in the places of {networks}, {codecs}, ... in its help."""
    verb.__doc__ = (verb.__doc__ or "").format(**{kind: ", ".join(names) for kind, names in LISTED.items()})
    return verb


def _flags_of_data() -> Any:
    """A class like `DataOptions` for what flags may give: None is a flag that was not given."""
    hints, docs = get_type_hints(DataOptions), field_docs(DataOptions)
    columns: list[tuple[str, Any, None]] = []
    for name in (each.name for each in fields(DataOptions) if each.name not in ("progress", "cache")):
        columns.append((name, Annotated[hints[name] | None, Parameter(help=docs[name], negative=())], None))
    # Without a module of its own the library cannot resolve the class's hints, and shows it as one value.
    made = make_dataclass("DataFlags", columns, frozen=True, kw_only=True, namespace={"__module__": __name__})
    return Parameter(name="*", group=Group("Data", sort_key=10))(made)


DataFlags: Any = _flags_of_data()
"""How to find and read a data set."""


def data_options(flags: Any) -> DataOptions:
    """How the data are found and read, from the verb's `DataFlags`."""
    return DataOptions(**{name: value for name, value in vars(flags).items() if value is not None})


def _texts(_: Any, tokens: Any) -> dict[str, str]:
    """--condense.network.width 8 and its like as {"network.width": "8"}."""
    if not isinstance(tokens, dict):
        raise UserError("expected a name: --TABLE.KEY VALUE.")
    return {key.replace("-", "_"): given[-1].value for key, given in flatten(tokens)}


_TABLE = Annotated[dict[str, str] | None, Parameter(converter=_texts, show=False, negative=())]
Tables: Any = make_dataclass(
    "Tables",
    [(name, _TABLE, None) for name in ("condense", "evaluate", "sizes", *OBJECTIVES.names())],
    frozen=True,
    kw_only=True,
    namespace={"__module__": __name__},
)
"""Settings as text, a table each: those of every recipe, and those that the file of a container or objective names."""


@Parameter(name="*", group=Group("Method (default: as the recipe says)", sort_key=14))
@dataclass(frozen=True, kw_only=True)
class MethodFlags:
    """What is stored and what is matched."""

    container: str | None = None
    """What the images are stored as: a name of `hmn list`. --sizes.KEY INT: `hmn list frequency` has its sizes."""
    objective: str | None = None
    """What is matched. --trajectory.KEY VALUE: `hmn list trajectory` has its settings. Those of every recipe are
    --condense.KEY VALUE and --evaluate.KEY VALUE: `hmn list condense`, `hmn list evaluate`."""
    tables: Annotated[Tables, Parameter(name="*")] = field(default_factory=Tables)

    def given(self, **more: Any) -> dict[str, Any]:
        """The settings that were given, by path, with `more` of them, of which None was not given.

        Raises:
            UserError: a name that is none, or a value of the wrong kind.
        """
        found: dict[str, Any] = {}
        known = settings_of(Recipe)
        for path, text in flatten({table: keys for table, keys in vars(self.tables).items() if keys}):
            flag = "--" + path.replace("_", "-")
            if (setting := find(known, path)) is None:
                raise UserError(f"{flag}: no setting is called so{nearest(path, known)}")
            found[path] = convert(setting, text, origin=flag)
        # The short flags count more.
        named = {**more, "container": self.container, "condense.objective": self.objective}
        return found | {path: value for path, value in named.items() if value is not None}


@Parameter(name="*", group=Group("Training", sort_key=12))
@dataclass(frozen=True, kw_only=True)
class NetworkFlags:
    """Which networks are trained."""

    net: Annotated[str | None, Parameter(help=f"{', '.join(LISTED['networks'])} (default: by recipe).")] = None
    width: int | None = None
    """Channels of its first layer."""


Protocol: Any = Literal[tuple(PROTOCOLS)]
_PROTOCOLS = "; ".join(f"{name}: {words}" for name, words in PROTOCOLS.items())


@Parameter(name="*", group=Group("Training", sort_key=12))
@dataclass(frozen=True, kw_only=True)
class TrainingFlags(NetworkFlags):
    """How they are trained."""

    protocol: Annotated[Protocol | None, Parameter(help=f"How networks are trained. {_PROTOCOLS}.")] = None
    steps: int | None = None
    """Optimizer steps, in the place of the protocol's; `hmn compare` needs them where it counts passes over images."""


@Parameter(name="*", group=Group("Training, the same for all that is compared", sort_key=12))
@dataclass(frozen=True, kw_only=True)
class EvaluationFlags(TrainingFlags):
    """How many of them, too, and their learning rate."""

    seeds: int | None = None
    """Networks for everything that is trained on, each from another seed."""
    schedule: Literal["cosine", "multistep"] | None = None
    """Schedule of the learning rate, in the place of the protocol's; multistep: 0.1, divided by 10 at 30, 60 and 90 %
    of the steps."""


@Parameter(name="*", group=Group("The folder", sort_key=17))
@dataclass(frozen=True, kw_only=True)
class FolderFlags:
    """What many runs in one folder go by."""

    resume: Switch = False
    """Go on with what is in the folder: what is done is kept, what was stopped goes on, what failed is tried again, and
    more may be asked for."""
    force: Switch = False
    """Remove what is in the folder and begin anew."""
    dry_run: Switch = False
    """Print what would be made and trained; do nothing."""
    checkpoint_seconds: float = 30.0
    """Seconds between two checkpoints of a condensation."""
    json: Json = False
