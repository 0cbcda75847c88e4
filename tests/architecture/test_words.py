"""Names and phrases that have been replaced do not come back: `tests/words.txt` lists them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from django.test import SimpleTestCase

from tests.architecture.source import APPS, ROOT, Module, module, product_modules

LIST = ROOT / "tests" / "words.txt"
STANDS_ALONE = "observatory.sandbox"  # its words are those of the vendors it stands in for


def listed(section: str) -> list[str]:
    """Return the entries of a section of the list."""
    text = LIST.read_text(encoding="utf-8").partition(f"[{section}]\n")[2].partition("\n[")[0]
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def names_in(source: Module) -> Iterator[str]:
    """Yield every name that a module defines, imports or uses, and the module's own."""
    yield from source.name.split(".")
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")


def texts_in(source: Module) -> Iterator[str]:
    """Yield the literal texts of a module except its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield text


def forbidden_names(source: Module) -> Iterator[str]:
    for name in set(names_in(source)):
        if any(fnmatchcase(name, pattern) for pattern in listed("identifiers")):
            yield f"{source.name} names {name}"


def forbidden_phrases(where: str, text: str) -> Iterator[str]:
    flat = re.sub(r"\s+", " ", text)
    for phrase in listed("phrases"):
        if phrase in flat:
            yield f"{where} says {phrase!r}"


def screens() -> Iterator[tuple[str, str]]:
    """Yield the texts that people read, with where they stand."""
    readme = ROOT / "README.md"
    templates = [path for app in APPS for path in sorted((ROOT / app).rglob("*.html"))]
    scripts = [path for app in APPS for path in sorted((ROOT / app).rglob("static/**/*.js"))]
    for path in (readme, *templates, *scripts):
        yield _name(path), path.read_text(encoding="utf-8")
    for source in product_modules():
        # Labels of models' choices are frozen in migrations; pages have labels of their own.
        if not re.search(r"\.(migrations|models)\b", source.name):
            for text in texts_in(source):
                yield source.name, text


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


class WordTests(SimpleTestCase):
    def test_no_replaced_name_is_in_the_code(self):
        sources = [s for s in product_modules() if not s.is_in(STANDS_ALONE)]
        found = [each for source in sources for each in forbidden_names(source)]

        assert found == [], "\n".join(found)

    def test_no_replaced_phrase_is_on_a_page_in_the_chat_or_in_the_readme(self):
        found = [each for where, text in screens() for each in forbidden_phrases(where, text)]

        assert found == [], "\n".join(found)

    def test_names_and_phrases_are_found_where_they_stand(self):
        made_up = module("pipeline.made_up", 'class Hold:\n    MOST_CASES = "make it anew"\n')

        assert sorted(forbidden_names(made_up)) == [
            "pipeline.made_up names Hold",
            "pipeline.made_up names MOST_CASES",
        ]
        (text,) = texts_in(made_up)
        assert list(forbidden_phrases("here", text)) == ["here says 'make it anew'"]
