"""Licences of models, and whether what a model says may teach another one.

Of a model with an alias, the alias file's word counts. Of any other, the licence that its own card
(``README.md``) declares; permissive licences put no condition on outputs, of all others it is not
known here. This is information for the person who decides, not legal advice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragdistill.models.aliases import Alias, MayTrain

_SPDX = {
    name.casefold(): name
    for name in ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0",
                 "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "AFL-3.0", "ISC", "Unlicense")
}  # fmt: skip
_PERMISSIVE = {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "Unlicense"}
_SENTENCE: dict[MayTrain, str] = {
    "yes": "its outputs may train another model",
    "no": "its outputs may not train another model",
    "unknown": "whether its outputs may train another model is unknown",
}


@dataclass(frozen=True, slots=True)
class Licence:
    """A model's licence; ``name`` is None where nothing declares one."""

    name: str | None
    outputs_may_train: MayTrain
    terms: str | None = None

    def sentence(self) -> str:
        """One line for people: the licence, what it says of outputs, and the condition."""
        line = f"{self.name or 'licence unknown'}: {_SENTENCE[self.outputs_may_train]}"
        return f"{line} ({self.terms})" if self.terms else line


def licence_of(alias: Alias | None, path: Path | None = None) -> Licence:
    """The licence of a model by its alias, else by the card in its folder ``path``."""
    name = declared(path) if path is not None and path.is_dir() else None
    if alias is not None and (alias.licence or alias.outputs_may_train != "unknown"):
        return Licence(alias.licence or name, alias.outputs_may_train, alias.terms)
    return Licence(name, "yes" if name in _PERMISSIVE else "unknown")


def declared(folder: Path) -> str | None:
    """The licence in the front matter of the folder's model card, as SPDX where it is one."""
    content = _front_matter(folder / "README.md")
    name = content.get("license")
    if name == "other":
        name = content.get("license_name") or name
    return _SPDX.get(name.casefold(), name) if isinstance(name, str) else None


def _front_matter(card: Path) -> dict[str, Any]:
    """The YAML between the two ``---`` lines that open a model card; a bad one counts as none."""
    if not card.is_file():
        return {}
    head, separator, _ = card.read_text(encoding="utf-8", errors="replace").partition("\n---")
    if not separator or not head.startswith("---"):
        return {}
    import yaml

    try:
        content = yaml.safe_load(head.removeprefix("---"))
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}
