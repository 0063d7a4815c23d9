"""What can go wrong, by who can do something about it."""


class SelfPlayError(Exception):
    """The work failed; the message says what, why and what to do."""

    exit_status = 1


class OrderError(SelfPlayError):
    """What was asked for cannot be played, or is not what the store holds."""

    exit_status = 2


class StoreError(SelfPlayError):
    """The store cannot be used as it is."""


class PlayError(SelfPlayError):
    """A player's program failed; another try may go well."""


class BadPlayError(PlayError):
    """The program refuses what it was given: another try will not go better."""

    exit_status = 2


class LostTooOftenError(SelfPlayError):
    """The same games have taken every worker with them that played them."""


class ClusterError(SelfPlayError):
    """Ray is missing, not in reach, or has no place for a worker."""
