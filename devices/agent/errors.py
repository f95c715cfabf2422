"""What a job ends in, other than an answer: results, and no errors of this program."""


class Unsupported(Exception):
    """The runtime is missing or refuses the file: a result, not an error of this program."""


class Busy(Exception):
    """Another machine is timing files on this device."""
