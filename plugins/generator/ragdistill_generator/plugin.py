"""What ``ragdistill`` needs to know of this plugin: the names of the field's generators."""

from pathlib import Path

from ragdistill.hookspecs import hookimpl


@hookimpl
def ragdistill_models() -> list[Path]:
    """The aliases of generators."""
    return [Path(__file__).with_name("models.toml")]
