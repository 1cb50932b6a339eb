"""The documentation of the running Python as a corpus with known-item queries."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import NamedTuple

from ragdistill.data import pydocs_source as source
from ragdistill.data.collection import Document

# Left out: test suites, applications, jokes, and modules whose import does something.
_LEFT_OUT = frozenset(
    {
        "__hello__", "__phello__", "antigravity", "distutils", "encodings", "idlelib", "lib2to3",
        "ntpath", "pydoc_data", "readline", "test", "this", "tkinter", "turtle", "turtledemo",
        "xxlimited", "xxsubtype",
    }
    | source.IMPLEMENTATIONS
)  # fmt: skip
_LEFT_OUT_PARTS = frozenset({"__main__", "test", "tests", "idle_test"})
_RENAMED = {"posixpath": "os.path", "builtins": ""}
MIN_QUERY_WORDS = 4
_DEFINITION = re.compile(
    r"(?m)(?<=\n\n)"
    r"(?P<head>(?:class |static |classmethod )?(?P<name>[A-Za-z_][\w.]*).*(?<![\s:.,;])\n"
    r"(?:[A-Za-z_].*(?<![\s:.,;])\n)*)"
    r"\n(?P<body>(?: {3}.*\n|\n)+)"
)
_CALL = re.compile(r"(?:\w+\.)*(\w+)\(.*(?:\n+|\Z)")


class Corpus(NamedTuple):
    """Documents, the known-item queries into them, and under which id each name is found."""

    documents: tuple[Document, ...]
    known_items: Mapping[str, str]
    """Document id to the text of its query: the paragraph that is missing from the document."""
    canonical: Mapping[str, str]
    """Every documented name to the id of the document that holds its text."""


def modules() -> Iterator[str]:
    """Names of the public standard-library modules, sorted within each package."""
    for top in sorted(sys.stdlib_module_names):
        if top.startswith("_") or top in _LEFT_OUT:
            continue
        yield top
        path = source.source_path(top)
        if path is not None and path.name == "__init__.py":
            yield from _submodules(top)


def _submodules(package: str) -> Iterator[str]:
    folder = source.library().joinpath(*package.split("."))
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts and not any(p.startswith("_") or p in _LEFT_OUT_PARTS for p in parts):
            yield ".".join((package, *parts))


def docstrings() -> dict[str, source.Item]:
    """Documented name (``json.dumps``, ``str.split``) to its signature and docstring."""
    found: dict[str, source.Item] = {}
    for module in modules():
        prefix = _RENAMED.get(module, module)
        for name, item in source.read(module).items():
            found[".".join(filter(None, (prefix, name))) or module] = item
    return found


def topic_sections() -> dict[str, tuple[str, str]]:
    """Heading and text of each part of the language reference, by id.

    A part is a section (``topic.with``, ``topic.import#future-statements``) or what it defines
    (``topic.customization#object.__new__``). Empty where this Python has no ``pydoc_data``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for topic, text in sorted(topics.items()):
        for number, (heading, slug, body) in enumerate(_parts(text)):
            name = f"topic.{topic}#{slug}" if number else f"topic.{topic}"
            while name in found:
                name += "-next"
            if body:
                found[name] = (heading, body)
    return found


def _parts(text: str) -> Iterator[tuple[str, str, str]]:
    """Heading, slug and body of each section, then of each definition taken out of it.

    A heading is a line underlined by one character; a definition is followed by a blank line and
    its explanation, indented by three.
    """
    pieces = re.split(r"(?m)^(\S.*)\n([*=\-~^])\2{2,}$", text)
    for heading, body in zip(pieces[1::3], pieces[3::3], strict=True):
        defined = [match for match in _DEFINITION.finditer(body) if _defines(match["head"])]
        for match in reversed(defined):
            body = body[: match.start()] + body[match.end() :]
        slug = re.sub(r"[^a-z0-9_]+", "-", heading.casefold()).strip("-")
        yield heading.strip(), slug, body.strip()
        for match in defined:
            head = match["head"].strip()
            yield " ".join(head.split()), match["name"], f"{head}\n\n{match['body'].strip()}"


def _defines(head: str) -> bool:
    """Whether the head of a definition is a name with its syntax, and no piece of a sentence."""
    words = [word for word in head.split() if word.isalpha()]
    return len(words) <= 3 and words[-1:] != ["to"]


def build(whole: Iterable[str] = ()) -> Corpus:
    """The corpus: one document for each distinct text, and the known-item queries.

    The query of an entry is the first paragraph of its docstring, which is then taken out of the
    document. An entry gives a query only if its docstring goes on after that paragraph, and if
    the paragraph has at least ``MIN_QUERY_WORDS`` words and stands nowhere else in the corpus.
    Entries named in ``whole`` keep all of their docstring, and are no known items.
    """
    items = docstrings()
    sections = topic_sections()
    texts = {name: item.doc for name, item in items.items()}
    texts |= {name: body for name, (_, body) in sections.items()}
    canonical = _canonical(texts)
    ids = sorted(set(canonical.values()))
    titles = {name: f"{name}{item.signature}" for name, item in items.items()}
    titles |= {name: heading for name, (heading, _) in sections.items()}
    kept = {canonical.get(name, name) for name in whole} | sections.keys()
    known = _known_items({name: texts[name] for name in ids}, kept)
    bodies = {name: known[name][1] if name in known else texts[name] for name in ids}
    return Corpus(
        tuple(Document(name, bodies[name], titles[name]) for name in ids),
        {name: query for name, (query, _) in known.items()},
        canonical,
    )


def _canonical(texts: Mapping[str, str]) -> dict[str, str]:
    """Each name to the shortest name that has the same text."""
    first: dict[str, str] = {}
    for name in sorted(texts, key=lambda name: (name.count("."), "#" in name, len(name), name)):
        first.setdefault(_normal(texts[name]), name)
    return {name: first[_normal(text)] for name, text in texts.items()}


def _known_items(texts: Mapping[str, str], kept: set[str]) -> dict[str, tuple[str, str]]:
    """Id to (query, what is left of the document)."""
    everything = "\n".join(_normal(text) for text in texts.values())
    shingles = Counter(chain.from_iterable(_shingles(_normal(text)) for text in texts.values()))
    found: dict[str, tuple[str, str]] = {}
    for name, text in texts.items():
        query, rest = split_docstring(name, text) if name not in kept else ("", "")
        if len(query.split()) < MIN_QUERY_WORDS or not rest:
            continue
        # Counting in the whole text is slow, and needed only where no shingle is unique. The
        # first and the last word may stand elsewhere with a quotation mark or full stop attached.
        inner = _shingles(" ".join(_normal(query).split()[1:-1]))
        if 1 in map(shingles.get, inner) or everything.count(_normal(query)) == 1:
            found[name] = (query, rest)
    return found


def split_docstring(name: str, text: str) -> tuple[str, str]:
    """First paragraph of a docstring on one line, and the docstring without it.

    Lines that only show how to call (``range(stop) -> range object``) at its start stay.
    """
    leaf = name.rpartition(".")[2]
    start = 0
    while (call := _CALL.match(text, start)) and call.group(1) == leaf:
        start = call.end()
    calls = text[:start]
    first, _, rest = text[start:].partition("\n\n")
    remaining = f"{calls.strip()}\n\n{rest.strip()}".strip() if rest.strip() else ""
    return " ".join(first.split()), remaining


def _shingles(text: str) -> Iterator[tuple[str, ...]]:
    words = text.split()
    return zip(*(words[start:] for start in range(MIN_QUERY_WORDS)), strict=False)


@cache
def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
