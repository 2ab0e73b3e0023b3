"""The error that data of the wrong form raises."""


class DataError(ValueError):
    """A file or a value is not what it should be; the message names the cause and the cure."""
