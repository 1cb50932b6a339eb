"""``ragdistill methods``."""

import json

import click

from ragdistill import plugins


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def methods(as_json: bool) -> None:
    """List every installed distillation method."""
    found = sorted(plugins.methods(plugins.manager()).items())
    if as_json:
        rows = [
            {"name": m.name, "summary": m.summary, "target": m.target, "paper": m.paper}
            for _, m in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for name, method in found:
        click.echo(f"{name:<28} {method.summary}")
