"""The one exception that users are meant to read.

Everything that a user can cause (a setting, a file, a server) is raised as `RarError` with one line that names the place,
what was expected and what to do. Anything else is a defect and keeps its traceback.
"""


class RarError(Exception):
    """A user's mistake or an outside failure, told in one line."""
