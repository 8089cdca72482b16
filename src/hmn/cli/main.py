"""The command line: each verb resolves its settings and calls the library. Imports no torch."""

import errno
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from hmn.errors import Interruption, UserError
from hmn.runtime.launched import COMMAND, ProcessLost, leave, local_rank, share_cores

USER_MISTAKES = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.EEXIST}
VERBS = {
    "condense": "Condense a data set into a folder.",
    "evaluate": "Train networks on condensed or real images and test them.",
    "generate": "Write the images of a condensed folder as files.",
    "show": "Draw the images of a condensed folder as one picture.",
    "ledger": "Count what a container stores, part by part: now hmn plan --ledger.",
    "plan": "Choose a container for a data set and a budget; count what it stores, and what condensing takes.",
    "list": "Name recipes, containers, objectives, networks and protocols, or the settings of one.",
    "sweep": "Condense and evaluate over a grid of settings, many runs at a time.",
    "compare": "Compare methods at several budgets under one training protocol.",
    "profile": "Measure how easily networks learn every image (AUM).",
    "prune": "Write a condensed folder with fewer images, chosen by their AUM.",
    "figure": "Draw a figure from the files of runs and results.",
    "report": "Write runs as one self-contained page of HTML.",
    "doctor": "Report versions, machine, extras and folders.",
}
"""Each verb, a function of its name in the file of its name, and what it does."""


def version() -> str:
    """The installed version of hmn."""
    from importlib import metadata  # slow, and asked for by --version alone

    try:
        return metadata.version("hmn")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


def build_app() -> App:
    """The app with its verbs, none of which is imported before it is called."""
    app = App(
        name="hmn",
        help="Condense a labelled image data set into a small learned memory, train on it, and measure what it is "
        "worth.\n\nStart with: hmn condense digits --ipc 10 --recipe quick --out demo/digits",
        version=version,
        help_format="plaintext",  # markdown, which the verbs' docstrings need, is slow to load
        suppress_keyboard_interrupt=False,
    )
    for order, (name, summary) in enumerate(VERBS.items()):
        app.command(f"hmn.cli.{name}:{name}", name=name, help=summary, sort_key=order, help_format="markdown")
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; the process's own where None.

    Returns:
        The exit code: 0; 1, a fault of the program or the machine; 2, a user's mistake; 130, interrupted.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    COMMAND.set(tokens)
    share_cores()
    try:
        result = build_app()(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        return _fail(_usage_message(error, tokens), 2)
    except UserError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)
    except Interruption as error:
        return _fail(str(error), 130)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has left: what it wanted, it has.
        _silence_stdout()
        return 0
    except ProcessLost as error:
        leave(_fail(str(error), 1, speaks=True))
    except OSError as error:
        if os.environ.get("HMN_DEBUG"):
            raise
        what = error.strerror or str(error) or type(error).__name__
        place = "" if error.filename is None else f": {error.filename}"
        return _fail(what + place, 2 if error.errno in USER_MISTAKES else 1)


def _usage_message(error: CycloptsError, tokens: Sequence[str]) -> str:
    verb = next((token for token in tokens if not token.startswith("-")), "")
    command = f"hmn {verb} --help" if verb in VERBS else "hmn --help"
    message = str(error).strip()
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See: {command}"


def _silence_stdout() -> None:
    """Send what stdout still holds nowhere: Python would complain about it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int, *, speaks: bool = False) -> int:
    """Print a line and hand the code on; of several processes on a machine the first one speaks for all."""
    try:
        sys.stdout.flush()
    except OSError:  # the pipe's reader is gone, or the disk is full
        _silence_stdout()
    if speaks or local_rank() == 0:
        print("hmn: " + " ".join(message.split()), file=sys.stderr)
    return code
