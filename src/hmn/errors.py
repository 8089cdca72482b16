"""The one error type that is meant for people: a mistake in what the user gave."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, told in one line: what was got, what was expected, what to do.

    The command line prints the line and exits with 2; library users may catch it as a ValueError.
    """
