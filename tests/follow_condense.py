"""Prints the files of hmn that a condensation leads through, in the order in which they are handed its values.

The values are its settings, data, sizes, container, state and folder. Started with a folder to work in.
"""

import sys
from pathlib import Path
from types import FrameType

import hmn
import hmn.condensation.job  # here, not below, where every call of an import would be followed
from hmn.cli.main import main

SOURCE = Path(hmn.__file__).parent
OUT = Path(sys.argv[1]) / "run"
VALUES = {"Recipe", "CondenseConfig", "Splits", "RealData", "Chosen", "Shape", "Container", "CondenseState"}
way: dict[str, None] = {}


def carried(value: object) -> bool:
    """Whether a value is one of the run's own: settings, data, sizes, container, state, or a path in its folder."""
    if isinstance(value, Path):
        return value.is_relative_to(OUT)
    return bool(VALUES & {kind.__name__ for kind in type(value).__mro__})


def importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and Path(frame.f_code.co_filename).is_relative_to(SOURCE)


def follow(frame: FrameType, event: str, argument: object) -> None:
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(str(SOURCE)) or code.co_filename in way:
        return
    given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    others = [frame.f_locals.get(name) for name in given if name not in ("self", "cls")]
    if any(map(carried, others)) and not importing(frame):
        way[code.co_filename] = None


arguments = ["condense", "digits", "--ipc", "1", "--recipe", "quick", "--condense.epochs", "1"]
arguments += ["--condense.inner-steps", "2", "--condense.start.steps", "2", "--out", str(OUT)]
sys.setprofile(follow)
code = main(arguments)
sys.setprofile(None)
print("\n".join(Path(file).relative_to(SOURCE).as_posix() for file in way))
sys.exit(code)
