"""The teacher-signal store: what a teacher said about a text, addressed by content.

``ragdistill.signals.store.SignalStore`` is the way in; this package itself imports nothing heavy.
"""

from ragdistill.home import home
from ragdistill.signals.fingerprint import KEY_BYTES, Fingerprint, text_key

__all__ = ["KEY_BYTES", "Fingerprint", "default_address", "text_key"]


def default_address() -> str:
    """Where the signal store lies unless ``--store`` says otherwise."""
    return str(home() / "signals")
