"""Names to weights: aliases, where weights come from, what identifies them, what they allow."""

from ragdistill.errors import UserError


class Unavailable(UserError):
    """One source of weights could not be asked; another may have them."""
