"""Where fetched models and teacher signals live between runs."""

import os
from pathlib import Path


def home() -> Path:
    """``RAGDISTILL_HOME``, or the platform's cache folder for ragdistill."""
    if chosen := os.environ.get("RAGDISTILL_HOME"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ragdistill", appauthor=False))
