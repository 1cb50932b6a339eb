"""``ragdistill plugins``."""

import json

import click

from ragdistill import plugins as seam


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the installed plugins, where they come from, and what keeps one from loading."""
    pm = seam.plugin_manager()
    rows = []
    for name, entry_point in sorted(seam.declared().items()):
        state = "ok"
        try:
            seam.load(pm, entry_point)
        except seam.PluginError as error:
            state = error.format_message()
        dist = entry_point.dist
        rows.append(
            {
                "name": name,
                "distribution": f"{dist.name} {dist.version}" if dist else None,
                "module": entry_point.value,
                "state": state,
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:<18} {row['distribution'] or '?':<24} {row['state']}")
