"""Every error that Greenlight raises on purpose. The message ends with what to do next."""


class GreenlightError(Exception):
    """Base of all errors that a caller may want to catch. Exit code 1."""

    exit_code = 1


class InputError(GreenlightError):
    """A value that the user gave is unusable. Raised before anything is downloaded or deployed.
    Exit code 2.

    Args:
        field: the parameter, option or key that holds the value.
        value: the value as given.
        fix: what to write instead, as a sentence without a full stop.
    """

    exit_code = 2

    def __init__(self, field: str, value: object, fix: str) -> None:
        self.field, self.value, self.fix = field, value, fix
        super().__init__(f"{field}: {value!r}: {fix}")


class IntegrityError(GreenlightError):
    """Bytes are not what their record says: a truncated, changed or half-written artifact."""


class DeployError(GreenlightError):
    """A release did not come up, or does not serve what it should."""


class ConflictError(GreenlightError):
    """Somebody else changed, or is changing, what this step wanted to change. Nothing was done."""


class NoAnswerError(GreenlightError):
    """A server did not answer at all."""


class RejectedError(GreenlightError):
    """No candidate is good enough to be deployed. Exit code 3, as that of a run whose gate says
    no.
    """

    exit_code = 3
