"""The one exception that means "the input is wrong": the command line prints it and exits with 2."""


class UserError(ValueError):
    """Bad input in one sentence: what is wrong, where it stands, what mends it."""
