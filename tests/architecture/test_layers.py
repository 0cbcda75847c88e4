"""The arrows of the architecture, held: who may import whom, and who may touch the overrides."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter

from django.test import SimpleTestCase

from tests.architecture.source import (
    Import,
    Module,
    imports,
    is_inside,
    module,
    product_modules,
)

# From the top down: a room imports rooms of its own line and of the lines below.
AGENTS_ORDER = (
    {"admin", "management", "apps"},
    {"forms", "process_report", "override_state", "override_file", "checks", "served_names_admin"},
    {"override_history", "override_changes"},
    {"guarded_admin"},
    {"stale_form"},
    {"form_state"},
    {"retirement"},
    {"model_config", "registry", "catalog", "credit", "served_names", "webhook_client"},
    {"resolving", "team"},
    {"snapshot"},
    {"models", "base", "migrations"},
    {"revision", "llm", "passages", "former_states", "cancelling"},
    {"connections", "database_identity", "display", "log_fields", "webhook_signature"},
)
PIPELINE_ORDER = (
    {"management", "views", "apps"},
    {"worker"},
    {"bot"},
    {"operations", "checks"},
    {"running"},
    {"people", "school"},
    {"queue"},
    {"journal"},
    {"budgets"},
    {"models", "migrations"},
    {"crashpoints", "locks"},
)
MAX_ROOMS, MAX_ARROWS, MAX_CHAIN = 20, 55, 12
ORDERS = {"agents": AGENTS_ORDER, "pipeline": PIPELINE_ORDER}
BENEATH = {"agents": (), "pipeline": ("agents",), "observatory": ("pipeline", "agents")}

ONLY_IN = {
    "telegram": ("pipeline.bot",),
    "httpx": ("agents.llm", "agents.catalog", "pipeline.bot.transport"),
    "opentelemetry": ("observatory.telemetry",),
}
CLIENTS = ("httpx", "aiohttp", "telegram", "redis")
OVERRIDES_TABLE = {"AgentModelConfig", "HistoricalAgentModelConfig", "agent_model_config"}
MAY_TOUCH_OVERRIDES = (
    *("agents.models", "agents.snapshot", "agents.admin", "agents.forms"),
    *("agents.override_history", "agents.override_state", "agents.override_file"),
    "agents.override_changes",
    "agents.migrations",
)
SANDBOX = "observatory.sandbox"
# "Try again", "Approve" and "Run again" change more than a row, and what they change is written in
# one place only. The definitions say which pipelines there are.
ADMIN_SEES = (
    *("pipeline.admin", "pipeline.models", "pipeline.running.runner", "pipeline.budgets"),
    *(
        "pipeline.queue.task_store",
        "pipeline.queue.backends",
        "pipeline.people.admission",
        "pipeline.people.operator_links",
        "pipeline.running.rerun",
        "pipeline.running.config",
    ),
)
FORBIDDEN_IN_SANDBOX = ("django", "agents", "pipeline", "observatory")

Rule = Callable[[Module], Iterator[str]]


def apps_point_downwards(source: Module) -> Iterator[str]:
    for found in imports(source):
        above = found.target.split(".")[0]
        is_app = above in BENEATH and above != source.app
        if is_app and source.app in BENEATH and above not in BENEATH[source.app]:
            yield _says(source, found, f"{source.app} knows nothing of {above}")


def rooms_point_downwards(source: Module) -> Iterator[str]:
    order = ORDERS.get(source.app)
    if order is None or not source.room or source.is_in("pipeline.admin"):
        return
    floor = _floor(order, source.room)
    if floor is None:
        yield f"{source.name}: give {source.room!r} its place in the order of {source.app}"
        return
    for found in imports(source):
        app, _, rest = found.target.partition(".")
        target = _floor(order, rest.split(".")[0])
        if app == source.app and target is not None and target < floor:
            yield _says(source, found, f"{source.room} stands beneath it")
        elif app == source.app == "pipeline" and is_inside(rest, "admin"):
            yield _says(source, found, "nobody imports the admin")


def the_pipelines_admin_sees_models_and_runner(source: Module) -> Iterator[str]:
    if source.is_in("pipeline.admin"):
        for found in imports(source):
            is_ours = is_inside(found.target, "pipeline")
            if is_ours and not any(is_inside(found.target, seen) for seen in ADMIN_SEES):
                yield _says(source, found, f"pipeline/admin sees {', '.join(ADMIN_SEES)} only")


def the_outside_world_has_its_doors(source: Module) -> Iterator[str]:
    for found in imports(source):
        doors = ONLY_IN.get(found.target.split(".")[0])
        if doors and not source.is_in(*doors):
            yield _says(source, found, f"only {', '.join(doors)} may")


def the_sandbox_stands_alone(source: Module) -> Iterator[str]:
    if source.is_in(SANDBOX):
        for found in imports(source):
            is_own = is_inside(found.target, SANDBOX)
            if not is_own and found.target.split(".")[0] in FORBIDDEN_IN_SANDBOX:
                yield _says(source, found, "the sandbox runs without the product and its ORM")


def only_the_resolver_reads_the_overrides(source: Module) -> Iterator[str]:
    if source.is_in(*MAY_TOUCH_OVERRIDES):
        return
    for node in ast.walk(source.tree):
        names = {
            *(alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)),
            getattr(node, "attr", None),
            getattr(node, "id", None),
            node.value if isinstance(node, ast.Constant) else None,
        }
        if touched := names & OVERRIDES_TABLE:
            line = getattr(node, "lineno", 0)
            yield f"{source.name}:{line} touches {touched.pop()!r}: ask the resolver instead"


def imports_stand_at_the_top(source: Module) -> Iterator[str]:
    if source.name == "manage":
        return
    for found in imports(source):
        is_ready = found.function == "ready" and source.name.endswith(".apps")
        if found.function and not is_ready:
            yield _says(source, found, f"inside {found.function}(): move it to the top")


RULES: tuple[Rule, ...] = (
    apps_point_downwards,
    rooms_point_downwards,
    the_pipelines_admin_sees_models_and_runner,
    the_outside_world_has_its_doors,
    the_sandbox_stands_alone,
    only_the_resolver_reads_the_overrides,
    imports_stand_at_the_top,
)


def rooms_of_pipeline(modules: list[Module]) -> tuple[set[str], set[tuple[str, str]]]:
    """Return pipeline's rooms, and which imports which, also for types only."""
    inside = [source for source in modules if source.app == "pipeline" and source.room]
    rooms = {source.room for source in inside} - {"migrations"}
    targets = {
        (source.room, found.target.split(".")[1])
        for source in inside
        for found in imports(source)
        if found.target.startswith("pipeline.")
    }
    return rooms, {(room, to) for room, to in targets if room != to and {room, to} <= rooms}


def circle(modules: list[Module]) -> list[str]:
    """Return the modules of one circle of imports, those for types too; none if there is none."""
    names = {source.name for source in modules}
    graph = {source.name: _known_targets(source, names) - {source.name} for source in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def longest_chain(modules: list[Module]) -> list[str]:
    """Return the modules of the longest way along their imports, those for types too."""
    names = {source.name for source in modules if ".migrations." not in source.name}
    graph = {
        source.name: _known_targets(source, names) - {source.name}
        for source in modules
        if source.name in names
    }
    longest: dict[str, list[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below = max((longest[target] for target in graph[name]), key=len, default=[])
        longest[name] = [name, *below]
    return max(longest.values(), key=len)


def reached_from(modules: list[Module], start: Iterator[Module]) -> dict[str, list[str]]:
    """Return what these modules load, theirs and others', each with the way that leads to it."""
    by_name = {source.name: source for source in modules}
    ways = {source.name: [source.name] for source in start}
    waiting = list(ways)
    while waiting:
        name = waiting.pop()
        for found in imports(by_name[name]):
            if found.for_types or found.function:
                continue
            parts = found.target.split(".")
            for target in (".".join(parts[:count]) for count in range(1, len(parts) + 1)):
                if target not in ways:
                    ways[target] = [*ways[name], target]
                    waiting += [target] if target in by_name else []
    return ways


def _known_targets(source: Module, names: set[str]) -> set[str]:
    found = {i.target for i in imports(source) if not i.function}
    return {name for target in found for name in (target, target.rpartition(".")[0])} & names


def _floor(order: tuple[set[str], ...], room: str) -> int | None:
    return next((floor for floor, rooms in enumerate(order) if room in rooms), None)


def _says(source: Module, found: Import, why: str) -> str:
    return f"{source.name}:{found.line} imports {found.target}: {why}"


class LayerTest(SimpleTestCase):
    def test_the_product_keeps_every_arrow(self):
        modules = product_modules()

        for rule in RULES:
            with self.subTest(rule.__name__):
                assert [said for source in modules for said in rule(source)] == []

    def test_no_module_imports_itself_in_a_circle(self):
        assert circle(product_modules()) == []

    def test_every_thread_and_task_has_a_name(self):
        nameless = [
            f"{source.name}:{node.lineno}"
            for source in product_modules()
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") in ("create_task", "Thread")
            and "name" not in {keyword.arg for keyword in node.keywords}
        ]

        assert nameless == []

    def test_models_load_no_client_of_anything_outside(self):
        modules = product_modules()
        models = (source for source in modules if source.is_in("agents.models", "pipeline.models"))
        ways = reached_from(modules, models)

        assert {"django.db.models", "agents.llm.keys"} <= set(ways)
        assert [ways[client] for client in CLIENTS if client in ways] == []

    def test_pipeline_has_few_rooms_and_few_arrows_between_them(self):
        rooms, arrows = rooms_of_pipeline(product_modules())

        assert {("bot", "journal"), ("running", "people")} <= arrows
        assert len(rooms) <= MAX_ROOMS
        assert len(arrows) <= MAX_ARROWS

    def test_no_chain_of_imports_in_pipeline_is_long(self):
        chain = longest_chain([one for one in product_modules() if one.app == "pipeline"])

        assert len(chain) <= MAX_CHAIN, " → ".join(chain)

    def test_the_checker_reads_the_whole_product(self):
        names = {source.name for source in product_modules()}

        assert {"manage", "agents.llm.http", "pipeline.models", "observatory.settings"} <= names


class CheckerTest(SimpleTestCase):
    """Each rule catches a source that breaks it: a checker that sees nothing is green as well."""

    def test_a_bad_source_is_caught(self):
        table: list[tuple[Rule, str, str]] = [
            (
                apps_point_downwards,
                "agents.base",
                "from pipeline.running.context import PipelineContext",
            ),
            (apps_point_downwards, "agents.base", "import observatory.settings"),
            (apps_point_downwards, "pipeline.running.runner", "from observatory import telemetry"),
            (rooms_point_downwards, "agents.llm.http", "from agents.models import OnFailure"),
            (rooms_point_downwards, "agents.models", "from agents import model_config"),
            (
                rooms_point_downwards,
                "pipeline.queue.task_store",
                "from pipeline.running.runner import PipelineRunner",
            ),
            (rooms_point_downwards, "pipeline.running.runner", "from pipeline.bot import texts"),
            (rooms_point_downwards, "pipeline.running.runner", "from pipeline import worker"),
            (rooms_point_downwards, "pipeline.running.runner", "from pipeline.admin import runs"),
            (rooms_point_downwards, "pipeline.utils", ""),
            (
                the_pipelines_admin_sees_models_and_runner,
                "pipeline.admin.runs",
                "from pipeline.journal.records import close_interrupted",
            ),
            (
                the_pipelines_admin_sees_models_and_runner,
                "pipeline.admin.tasks",
                "from pipeline.queue import inprocess",
            ),
            (the_outside_world_has_its_doors, "pipeline.running.runner", "import telegram.ext"),
            (the_outside_world_has_its_doors, "agents.team.trainer", "import httpx"),
            (
                the_outside_world_has_its_doors,
                "pipeline.journal.traces",
                "from opentelemetry import trace",
            ),
            (the_sandbox_stands_alone, "observatory.sandbox.state", "from django.db import models"),
            (the_sandbox_stands_alone, "observatory.sandbox.app", "import agents.llm.base"),
            (
                the_sandbox_stands_alone,
                "observatory.sandbox.app",
                "from observatory import settings",
            ),
            (
                only_the_resolver_reads_the_overrides,
                "pipeline.running.runner",
                "from agents.models import AgentModelConfig",
            ),
            (
                only_the_resolver_reads_the_overrides,
                "pipeline.running.runner",
                "import agents.models\nagents.models.AgentModelConfig.objects.all()",
            ),
            (
                only_the_resolver_reads_the_overrides,
                "observatory.dashboard.queries",
                "apps.get_model('agents', 'AgentModelConfig')",
            ),
            (imports_stand_at_the_top, "agents.base", "def run():\n    import json"),
            (
                imports_stand_at_the_top,
                "agents.base",
                "class A:\n    async def ready(self):\n        import json",
            ),
            (
                imports_stand_at_the_top,
                "pipeline.running.run_service",
                "def run():\n    importlib.import_module('agents.base')",
            ),
        ]
        for rule, name, text in table:
            with self.subTest(f"{rule.__name__}: {name}: {text}"):
                assert len(list(rule(module(name, text)))) >= 1

    def test_a_good_source_is_not(self):
        table = [
            ("agents.apps", "def ready(self):\n    import agents.checks"),
            ("agents.llm.http", "import httpx\nfrom agents.llm.errors import LLMError"),
            ("agents.snapshot", "from agents.models import AgentModelConfig"),
            ("pipeline.admin.tasks", "from pipeline.queue import task_store"),
            (
                "pipeline.bot.reply",
                "import telegram\nfrom pipeline.running.run_service import RunService",
            ),
            (
                "pipeline.running.runner",
                "from pipeline.journal import records\nfrom agents.base import AgentInput",
            ),
            ("observatory.sandbox.app", "from observatory.sandbox.state import State"),
            ("observatory.dashboard.queries", "from pipeline.models import PipelineRun"),
        ]
        for name, text in table:
            with self.subTest(f"{name}: {text}"):
                assert [said for rule in RULES for said in rule(module(name, text))] == []

    def test_a_circle_is_caught_even_if_it_is_for_types_alone(self):
        first = module("agents.base", "from agents.registry import default_registry")
        for text in (
            "from agents import base",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from agents import base",
        ):
            second = module("agents.registry", text)

            assert set(circle([first, second])) == {"agents.base", "agents.registry"}
