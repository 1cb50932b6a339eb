"""Documented names of Python source files, read by parsing: nothing is imported or run.

A package that re-exports names (``from .runners import *``), or a module that takes its fast
versions from an extension module (``from _json import ...``), lists them as its own, because
that is the name a programmer uses.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import sysconfig
import types
import warnings
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

# Public-looking modules that only implement others: read where `os` or `os.path` imports them.
IMPLEMENTATIONS = frozenset({"posix", "nt", "genericpath"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_DESCRIPTORS = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.BuiltinFunctionType,
    staticmethod,
    classmethod,
)


class Item(NamedTuple):
    """What the documentation says of one name."""

    signature: str
    doc: str


class _Reader(NamedTuple):
    """What decides which imported names a module passes on as its own."""

    module: str
    package: str
    exports: frozenset[str]


Names = dict[str, Item]
"""Name inside the module (``""`` for the module, ``JSONEncoder.default``) to its documentation."""


@cache
def library() -> Path:
    """The folder with the sources of the standard library of the running Python."""
    return Path(sysconfig.get_path("stdlib"))


def source_path(module: str) -> Path | None:
    """The source file of a standard-library module, or None if it has none."""
    base = library().joinpath(*module.split("."))
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def is_public(name: str) -> bool:
    """Whether ``name`` is public or a special name such as ``__init__``."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


@lru_cache(maxsize=1)
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


@cache
def read(module: str) -> Mapping[str, Item]:
    """The documented names of a module: parsed if it has a source, else inspected.

    Only built-in and extension modules are ever imported; one that is not there has no names.
    """
    path = source_path(module)
    if path is None:
        return inspected(module)
    tree = _parsed(path)
    names: Names = {}
    _add(names, "", "", ast.get_docstring(tree))
    package = module if path.name == "__init__.py" else ""
    _read_block(tree.body, _Reader(module, package, _exports(module)), names)
    return names


def inspected(module: str) -> Names:
    """The documented names of a built-in or extension module."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            spec = importlib.util.find_spec(module)
            suffixes = (".so", ".pyd", "built-in", "frozen")
            if spec is None or not str(spec.origin).endswith(suffixes):
                return {}
            loaded = importlib.import_module(module)
    except ImportError:
        return {}
    names: Names = {}
    _add(names, "", "", loaded.__doc__)
    for name, value in sorted(vars(loaded).items()):
        if name.startswith("_"):
            continue
        # A hook that was replaced at run time is read from where sys keeps the original.
        value = vars(loaded).get(f"__{name}__", value)
        if isinstance(value, types.BuiltinFunctionType):
            _add(names, name, signature_of(value), value.__doc__)
        elif isinstance(value, type):
            _inspect_class(names, name, value)
    return names


def signature_of(value: object) -> str:
    """``(parameters)`` of a callable written in C, as it states them, or ""."""
    text = getattr(value, "__text_signature__", None)
    return re.sub(r"\$\w+(, /)?(, )?", "", text) if isinstance(text, str) else ""


def _add(names: Names, name: str, signature: str, doc: object) -> None:
    if isinstance(doc, str) and (text := inspect.cleandoc(doc).strip()):
        names[name] = Item(signature, text)


def _inspect_class(names: Names, name: str, cls: type) -> None:
    _add(names, name, signature_of(cls), cls.__doc__)
    for attribute, value in sorted(vars(cls).items()):
        if is_public(attribute) and isinstance(value, _DESCRIPTORS):
            target = getattr(value, "__func__", value)
            _add(names, f"{name}.{attribute}", signature_of(target), target.__doc__)


def _read_block(body: list[ast.stmt], reader: _Reader, names: Names) -> None:
    """Add what the statements of a module define or re-export; what comes later wins."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                _read_function(node, "", names)
            case ast.ClassDef():
                _read_class(node, "", names)
            case ast.ImportFrom():
                names.update(_reexported(node, reader))
            case ast.If():
                _read_block(node.body + node.orelse, reader, names)
            case ast.Try():
                fallbacks = [statement for h in node.handlers for statement in h.body]
                # The handlers hold what stands in for an extension module that is missing.
                for statements in (fallbacks, node.orelse, node.body):
                    _read_block(statements, reader, names)


def _read_function(node: _Function, prefix: str, names: Names, *, bound: bool = False) -> None:
    if not is_public(node.name) or (not prefix and node.name.startswith("_")):
        return
    decorators = {ast.unparse(d).rpartition(".")[2] for d in node.decorator_list}
    if decorators & {"overload", "setter", "deleter"}:
        return
    signature = "" if decorators & {"property", "cached_property"} else _parameters(node, bound)
    _add(names, f"{prefix}{node.name}", signature, ast.get_docstring(node))


def _read_class(node: ast.ClassDef, prefix: str, names: Names) -> None:
    if node.name.startswith("_"):
        return
    name = f"{prefix}{node.name}"
    for base in node.bases:
        names.update(_inherited(base, name))
    init = next((n for n in node.body if isinstance(n, _Function) and n.name == "__init__"), None)
    signature = _parameters(init, bound=True) if init else ""
    _add(names, name, signature, ast.get_docstring(node))
    for child in _statements(node.body):
        if isinstance(child, _Function):
            _read_function(child, f"{name}.", names, bound=True)
        elif isinstance(child, ast.ClassDef):
            _read_class(child, f"{name}.", names)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body + node.orelse)
        else:
            yield node


def _inherited(base: ast.expr, name: str) -> Names:
    """Methods that a class has from the extension type it wraps, as ``socket(_socket.socket)``."""
    match base:
        case ast.Attribute(value=ast.Name(id=module), attr=parent) if module.startswith("_"):
            found = read(module).items()
            return {
                f"{name}{key[len(parent) :]}": item
                for key, item in found
                if key.startswith(f"{parent}.")
            }
    return {}


def _parameters(node: _Function, bound: bool) -> str:
    arguments = node.args
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    if bound and not static:
        first = arguments.posonlyargs or arguments.args
        if first:
            first = first[1:]
        arguments = ast.arguments(
            posonlyargs=first if arguments.posonlyargs else [],
            args=arguments.args if arguments.posonlyargs else first,
            vararg=arguments.vararg,
            kwonlyargs=arguments.kwonlyargs,
            kw_defaults=arguments.kw_defaults,
            kwarg=arguments.kwarg,
            defaults=arguments.defaults,
        )
    return f"({ast.unparse(arguments)})"


def _reexported(node: ast.ImportFrom, reader: _Reader) -> Names:
    """The names that ``from ... import ...`` makes a part of the module or package."""
    package = reader.package
    if node.module is None:
        return {}
    source = f"{package}.{node.module}" if node.level == 1 and package else node.module
    inside = bool(package) and source.startswith(f"{package}.") and node.level <= 1
    if not (inside or source.startswith("_") or source in IMPLEMENTATIONS):
        return {}
    found = read(source)
    chosen = {alias.name for alias in node.names if alias.asname is None}
    if "*" in chosen:
        chosen = set(_exports(source) or {key.partition(".")[0] for key in found})
    elif reader.exports and source.strip("_") not in reader.module:
        # What a module only uses itself, as os does Mapping, is not in its __all__.
        chosen &= reader.exports
    names: Names = {"": found[""]} if "__doc__" in chosen and "" in found else {}
    for key, item in found.items():
        if key.partition(".")[0] in chosen and not key.startswith("_"):
            names[key] = item
    return names


@cache
def _exports(module: str) -> frozenset[str]:
    """The names in a module's ``__all__`` as far as they are written out; empty without one."""
    path = source_path(module)
    if path is None:
        return frozenset()
    listed: set[str] = set()
    statements = list(_parsed(path).body)
    for node in statements:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                listed.update(_strings(value))
            case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
                listed.update(_strings(value))
            case ast.Try():
                statements += node.body
    return frozenset(listed)


def _strings(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
