"""Imports point inwards; core and wire touch nothing outside; no module needs itself."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mailrelay"

# Small modules at the top that everybody but core and wire may use. They lean on core and on each other at most.
LEAVES = {
    "batch",
    "config",
    "endpoint",
    "health",
    "keyring",
    "log",
    "metrics",
    "notices",
    "notify",
    "reserved",
    "signing",
    "words",
}

# layer -> layers that it may import, besides itself
ARROWS: Mapping[str, set[str]] = {
    "core": set(),
    "wire": {"core"},
    "leaves": {"core"},
    "flows": {"core", "leaves"},
    "store": {"core", "leaves"},
    "clients": {"core", "wire", "leaves"},
    "servers": {"core", "wire", "flows", "leaves"},
    "api": {"core", "wire", "flows", "leaves"},
    "wiring": {"core", "wire", "flows", "store", "clients", "servers", "api", "leaves"},
    # Commands put parts together as well, but serve nothing themselves.
    "cli": {"core", "wire", "flows", "store", "clients", "leaves", "wiring"},
}
PURE = ("core", "wire")

# Files, network, processes, clock, randomness, concurrency, logs: those come as arguments.
FORBIDDEN = {
    *("asyncio", "concurrent", "contextvars", "selectors", "signal", "subprocess", "threading"),
    *("fcntl", "glob", "io", "os", "pathlib", "shutil", "sys", "tempfile"),
    *(
        "http",
        "smtplib",
        "socket",
        "ssl",
        "urllib",
        "aiosmtpd",
        "dns",
        "psycopg",
        "psycopg_pool",
        "starlette",
        "uvicorn",
    ),
    *("random", "secrets", "time"),
    *("logging", "prometheus_client", "structlog", "warnings"),
}
# Of permitted modules and values, what reads the clock, draws lots or opens files.
FORBIDDEN_METHODS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "generate_private_key"}
FORBIDDEN_FUNCTIONS = {"open", "print", "input"}


def modules() -> dict[str, Path]:
    """Every module by its dotted name; a package goes by its own name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def layer(module: str) -> str | None:
    """None: the package itself, which holds the version and nothing else."""
    if module == "mailrelay":
        return None
    name = module.split(".")[1]
    return "leaves" if name in LEAVES else name


def imports(tree: ast.Module, known: Mapping[str, Path]) -> Iterator[str]:
    """Full names of what is imported anywhere in a module: of ours the module, of others as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(), str(MODULES[module]))


def wrong_arrows(module: str, imported: Iterator[str]) -> list[str]:
    own = layer(module)
    if own is None:
        return [name for name in imported if name.startswith("mailrelay")]
    allowed = {own, None, *ARROWS[own]}
    return [name for name in imported if name.partition(".")[0] == "mailrelay" and layer(name) not in allowed]


def impurities(code: ast.Module) -> list[str]:
    found = [name for name in imports(code, {}) if name.partition(".")[0] in FORBIDDEN]
    for node in ast.walk(code):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in FORBIDDEN_METHODS:
                found.append(f"line {node.lineno}: .{name}()")
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_FUNCTIONS:
                found.append(f"line {node.lineno}: {name}()")
            case ast.AsyncFunctionDef() | ast.Await():
                found.append(f"line {node.lineno}: async")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_inwards(module: str) -> None:
    assert layer(module) in {None, *ARROWS}, "a new layer: draw its arrows here and in the design"
    assert wrong_arrows(module, imports(tree(module), MODULES)) == []


@pytest.mark.parametrize("module", sorted(name for name in MODULES if layer(name) in PURE))
def test_core_and_wire_touch_nothing_outside(module: str) -> None:
    assert impurities(tree(module)) == []


def test_no_module_needs_itself() -> None:
    graph = {module: {name for name in imports(tree(module), MODULES) if name in MODULES} for module in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize(
    ("module", "code", "wrong"),
    [
        ("mailrelay.core.plan", "from mailrelay.flows import deliver", ["mailrelay.flows"]),
        ("mailrelay.core.plan", "def f():\n    import mailrelay.log", ["mailrelay.log"]),
        ("mailrelay.flows.deliver", "from mailrelay.store.database import Database", ["mailrelay.store.database"]),
        ("mailrelay.store.facts", "from mailrelay.wire.policy import Decoder", ["mailrelay.wire.policy"]),
        ("mailrelay.api.app", "from mailrelay.servers.status import Status", ["mailrelay.servers.status"]),
        ("mailrelay.servers.lmtp", "import mailrelay.wiring", ["mailrelay.wiring"]),
        ("mailrelay.log", "from mailrelay.flows.rules import Rules", ["mailrelay.flows.rules"]),
        ("mailrelay.servers.lmtp", "from mailrelay.flows.deliver import Delivery\nimport asyncio", []),
    ],
)
def test_the_test_sees_arrows_that_turn_round(module: str, code: str, wrong: list[str]) -> None:
    assert wrong_arrows(module, imports(ast.parse(code), {})) == wrong


@pytest.mark.parametrize(
    "code",
    [
        "import socket",
        "from os import path",
        "from asyncio import sleep",
        "from datetime import datetime\nx = datetime.now()",
        "import uuid\nx = uuid.uuid4()",
        "open('x')",
        "async def f() -> None: ...",
    ],
)
def test_the_test_sees_impurities(code: str) -> None:
    assert impurities(ast.parse(code))
