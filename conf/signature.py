"""The parameters of a target, read from its source: importing it could take seconds, as all of MindSpore does.

An annotation is evaluated in a small world of its own, where `float`, `Literal`, `Annotated` and the like are what
they are, names of the module are looked up in its source, and every other name is `Unknown`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import annotated_types

from lossfleet.conf.annotations import MISSING, Unknown, rule_of
from lossfleet.conf.rules import Rule

# Bases that take no parameters.
EMPTY_BASES = ("object", "ABC", "Protocol")
# What the world of annotations knows by itself.
KNOWN_MODULES = {"typing": typing, "annotated_types": annotated_types, "builtins": builtins}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a target: whether it must be given, and the rule of its values if one can be read."""

    is_required: bool
    rule: Rule | None


@dataclass(frozen=True)
class Signature:
    """What a target takes.

    `takes_all` is whether any name is accepted, as by `**options`; `is_class` whether the target is a class.
    """

    parameters: Mapping[str, Parameter]
    file: str | None
    line: int | None
    takes_all: bool = False
    is_class: bool = False

    @property
    def place(self) -> str:
        """Where it is written, for messages."""
        return f"{self.file}, line {self.line}" if self.file else "a module without source"


def read_signature(target: str) -> Signature | None:
    """The signature of a function or class.

    Args:
        target: the dotted name, as in `_target_`.

    Returns:
        None if there is no such thing; where source does not tell, the target is imported and asked.

    Raises:
        SyntaxError: the source of its module is no Python.
    """
    return _read_signature(target, tuple(sys.path))


@lru_cache(maxsize=512)
def _read_signature(target: str, path: tuple[str, ...]) -> Signature | None:
    found = _find(target)
    if found is None:
        return _imported_signature(target)
    module, definition = found
    is_class = isinstance(definition, ast.ClassDef)
    if isinstance(definition, ast.ClassDef):
        methods = {each.name: each for each in definition.body if isinstance(each, ast.FunctionDef)}
        if "__init__" not in methods:
            if [_decorator(each) for each in definition.decorator_list] == ["dataclass"]:
                fields = _fields(module, definition)
                return Signature(fields, str(module.file), definition.lineno, is_class=True)
            bases = [ast.unparse(each).removeprefix("abc.") for each in definition.bases]
            if definition.decorator_list or len(bases) > 1:
                return _imported_signature(target)
            if not bases or bases[0] in EMPTY_BASES:
                return Signature({}, str(module.file), definition.lineno, is_class=True)
            inherited = _read_signature(f"{module.name}.{bases[0]}", path)
            return inherited and replace(inherited, file=str(module.file), line=definition.lineno)
        definition = methods["__init__"]
    if definition.args.kwarg is not None or definition.args.vararg is not None:
        return _imported_signature(target)
    parameters = {
        each.arg: Parameter(default is MISSING, rule_of(module.evaluate(each.annotation), default))
        for each, default in list(_arguments(definition.args))[is_class:]
    }
    return Signature(parameters, str(module.file), definition.lineno, is_class=is_class)


def _decorator(node: ast.expr) -> str:
    """The name of a decorator, called or not, without that of its module."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node).removeprefix("dataclasses.")


def _fields(module: Scope, definition: ast.ClassDef) -> dict[str, Parameter]:
    """The parameters of a dataclass, from its own fields; it may only have bases without fields."""
    return {
        each.target.id: Parameter(
            each.value is None,
            rule_of(
                module.evaluate(each.annotation), MISSING if each.value is None else _literal(each.value)
            ),
        )
        for each in definition.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def _arguments(arguments: ast.arguments) -> Iterator[tuple[ast.arg, Any]]:
    """Each argument with its default, MISSING where there is none."""
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [None] * without + list(arguments.defaults)
    for argument, default in zip(
        positional + arguments.kwonlyargs, defaults + arguments.kw_defaults, strict=True
    ):
        yield argument, MISSING if default is None else _literal(default)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return Unknown()


def _imported_signature(target: str) -> Signature | None:
    """The signature as Python tells it, of what is no source or decides it when it is called."""
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
        signature = inspect.signature(found)
    except Exception:
        return None
    module = inspect.getmodule(found)
    scope = Scope(module_name, None, {}, vars(module) if module else {})
    parameters = {}
    takes_all = False
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            takes_all = takes_all or parameter.kind is parameter.VAR_KEYWORD
            continue
        default = MISSING if parameter.default is parameter.empty else parameter.default
        annotation: Any = parameter.annotation
        if isinstance(annotation, str):
            annotation = scope.evaluate(ast.parse(annotation, mode="eval").body)
        elif annotation is parameter.empty:
            annotation = MISSING
        parameters[name] = Parameter(default is MISSING, rule_of(annotation, default))
    try:
        file, line = inspect.getsourcefile(found), inspect.getsourcelines(found)[1]
    except (OSError, TypeError):
        file, line = None, None
    return Signature(parameters, file, line, takes_all, inspect.isclass(found))


@dataclass
class Scope(Mapping[str, Any]):
    """The names of a module, as its annotations see them."""

    name: str
    file: Path | None
    statements: Mapping[str, ast.stmt]
    known: Mapping[str, Any] = field(default_factory=dict)

    def evaluate(self, node: ast.expr | None) -> Any:
        """An annotation as a typing object; MISSING for none."""
        if node is None:
            return MISSING
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        try:
            return eval(compile(ast.Expression(node), "annotation", "eval"), {"__builtins__": {}}, self)
        except (TypeError, AttributeError):
            return Unknown()

    def __getitem__(self, name: str) -> Any:
        if name in self.known:
            return self.known[name]
        statement = self.statements.get(name)
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            return self.evaluate(statement.value)
        if isinstance(statement, ast.ImportFrom):
            original = next(each.name for each in statement.names if name in (each.asname, each.name))
            if statement.module in KNOWN_MODULES:
                return getattr(KNOWN_MODULES[statement.module], original, Unknown())
            module = _module(_absolute(statement, self.name))
            return module[original] if module else Unknown()
        if isinstance(statement, ast.Import):
            modules = [each.name for each in statement.names if name in (each.asname, each.name)]
            return KNOWN_MODULES.get(modules[0], Unknown())
        if statement is None:
            return getattr(builtins, name, Unknown())
        return Unknown()

    def __iter__(self) -> Iterator[str]:
        return iter(self.statements)

    def __len__(self) -> int:
        return len(self.statements)


def _find(target: str) -> tuple[Scope, ast.FunctionDef | ast.ClassDef] | None:
    """The definition of a dotted name and its module, wherever it is imported from."""
    module_name, _, name = target.rpartition(".")
    module = _module(module_name)
    statement = module.statements.get(name) if module else None
    if isinstance(statement, ast.ImportFrom):
        original = next(each.name for each in statement.names if name in (each.asname, each.name))
        return _find(f"{_absolute(statement, module_name)}.{original}")
    if module is not None and isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return module, statement
    return None


def _absolute(statement: ast.ImportFrom, module_name: str) -> str:
    """The module that a `from` names, seen from another one."""
    if not statement.level:
        return statement.module or ""
    spec = find_module(module_name)
    package = module_name if spec and spec.submodule_search_locations else module_name.rpartition(".")[0]
    return importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)


def _module(name: str) -> Scope | None:
    """The source of a module by the names that it defines."""
    spec = find_module(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin)
    return Scope(name, file, _statements(file, file.stat().st_mtime_ns))


@lru_cache(maxsize=256)
def _statements(file: Path, changed: int) -> dict[str, ast.stmt]:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return {name: statement for statement, name in _named(tree.body)}


def _named(statements: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """The statements of a module that give something a name, those under `if` and `try` too."""
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement, statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield statement, alias.asname or alias.name
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield statement, target.id
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement, statement.target.id
        elif isinstance(statement, ast.If | ast.Try):
            yield from _named([*statement.body, *statement.orelse])


def find_module(name: str) -> ModuleSpec | None:
    """Where a module is; unlike `importlib.util.find_spec` it imports none of its parents."""
    spec: ModuleSpec | None = None
    path: list[str] | None = None
    for end in [*(place for place, letter in enumerate(name) if letter == "."), len(name)]:
        finders = (finder.find_spec(name[:end], path) for finder in sys.meta_path)
        spec = next((each for each in finders if each is not None), None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec
