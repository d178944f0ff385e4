"""What goes wrong with the rig itself, as opposed to the command that it runs."""


class RigError(Exception):
    """`operation: cause`, told on stderr; the exit status is 125."""
