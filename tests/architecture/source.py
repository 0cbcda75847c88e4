"""The product's sources as the architecture tests see them: modules, their imports, their sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPS = ("agents", "pipeline", "observatory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported name, dotted: `from agents import models` is "agents.models"."""

    target: str
    line: int
    function: str  # the innermost function around it, "" at the module's top
    for_types: bool  # beneath `if TYPE_CHECKING`


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    text: str
    tree: ast.Module

    @property
    def app(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str:
        """The module or package directly inside the app: "llm" for agents.llm.http."""
        return self.name.split(".")[1] if "." in self.name else ""

    def is_in(self, *places: str) -> bool:
        return any(is_inside(self.name, place) for place in places)


def is_inside(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def module(name: str, text: str) -> Module:
    return Module(name=name, text=text, tree=ast.parse(text))


def product_modules() -> list[Module]:
    """Return every module of the three apps, and manage.py."""
    files = [path for app in APPS for path in sorted((ROOT / app).rglob("*.py"))]
    return [
        module(_dotted(path), path.read_text(encoding="utf-8"))
        for path in [ROOT / "manage.py", *files]
    ]


def imports(of: Module) -> list[Import]:
    return list(_imports_beneath(of.tree))


def functions(of: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(of.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_beneath(
    node: ast.AST, *, function: str = "", for_types: bool = False
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child):
            line: int = getattr(child, "lineno", 0)
            yield Import(target=target, line=line, function=function, for_types=for_types)
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _imports_beneath(
            child,
            function=getattr(child, "name", "") if is_function else function,
            for_types=for_types or _is_for_types(child),
        )


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and _imports_by_name(node):
        first = node.args[0]
        return [str(first.value) if isinstance(first, ast.Constant) else "a computed name"]
    return []


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def _imports_by_name(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in {"import_module", "import_string", "__import__"} and bool(call.args)
