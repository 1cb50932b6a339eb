"""What all tests share."""

from hypothesis import settings

# A case that takes long on a shared machine is no fault.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
