"""``python -m ragdistill``: the command, for launchers that start modules (``torchrun -m``)."""

from ragdistill.cli import main

if __name__ == "__main__":
    main(prog_name="ragdistill")
