"""The limits of size: what is longer than a person can hold in mind is taken apart."""

from __future__ import annotations

import ast

from django.test import SimpleTestCase

from tests.architecture.source import Module, functions, module, product_modules

FILE_LINES = 400
FUNCTION_LINES = 60


def too_long(source: Module) -> list[str]:
    lines = len(source.text.splitlines())
    found = [f"{source.name}: {lines} lines"] if lines > FILE_LINES else []
    for function in functions(source):
        if (length := _lines(function)) > FUNCTION_LINES:
            found.append(f"{source.name}.{function.name}: {length} lines")
    return found


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


class SizeTest(SimpleTestCase):
    def test_no_file_and_no_function_is_too_long(self):
        sources = [source for source in product_modules() if ".migrations." not in source.name]

        assert [said for source in sources for said in too_long(source)] == []

    def test_the_checker_sees_a_long_file_and_a_long_function(self):
        at_the_limit = "async def run():\n" + "    pass\n" * (FUNCTION_LINES - 1)

        assert too_long(module("a", at_the_limit)) == []
        assert too_long(module("a", at_the_limit + "    pass\n")) == ["a.run: 61 lines"]
        assert too_long(module("a", "\n" * FILE_LINES)) == []
        assert too_long(module("a", "\n" * (FILE_LINES + 1))) == ["a: 401 lines"]
