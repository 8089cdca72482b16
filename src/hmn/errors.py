"""What is told to people in one line: a mistake in what they gave, and work that a signal stopped."""


class UserError(ValueError):
    """Bad input, told in one line: what was got, what was expected, what to do.

    The command line prints the line and exits with 2; library users may catch it as a ValueError.
    """


class Interruption(Exception):
    """A signal stopped the work after its progress was saved, told in one line: what is kept, and how to go on.

    The command line prints the line and exits with 130.
    """


def check_at_least(least: int, **flags: int | None) -> None:
    """Refuse numbers of flags that are too small (UserError); None was not given."""
    for name, value in flags.items():
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: expected at least {least}.")
