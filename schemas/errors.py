"""The one exception that means "the input is wrong": it is printed and the exit code is 2."""


class UserError(ValueError):
    """Bad input in one sentence: what is wrong, where it stands, what mends it."""
