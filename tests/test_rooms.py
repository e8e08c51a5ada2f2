"""Imports point down the list of rooms, every module says its one job, and nothing is named for what is left over."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bulkload

PACKAGE = Path(bulkload.__file__).parent

# The rooms from the roof down, those of one line on one floor. A module may import from its own floor and from those
# below it; `bulkload` itself is the library's public face.
ROOMS = """
    __main__
    cli
    bulkload
    load check migrate
    fleet
    report
    ledger
    client
    upload
    pace
    retry
    wire
    dead_letters
    record reading
    source
    mapping
    emulator
    registration installation
    hub sas errors process
"""
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS.split("\n")) for room in rooms.split()}

LEFTOVERS = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc", "tools"}

MODULES = {
    ".".join(("bulkload", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str:
    """The room that a module stands in: `bulkload.source.lines` stands in `source`."""
    return module.split(".")[1] if "." in module else "bulkload"


def imported(module: str, text: str) -> Iterator[str]:
    """The package's modules that a module imports, wherever in it, and under whatever form."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "bulkload")
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            if origin.split(".")[0] == "bulkload":
                names = (f"{origin}.{alias.name}" for alias in node.names)
                yield from (name if name in MODULES else origin for name in names)


def imports_of(module: str) -> set[str]:
    return {name for name in imported(module, MODULES[module].read_text(encoding="utf-8")) if name != module}


def climbs(module: str, text: str) -> set[str]:
    """Those imports of a module that point up."""
    return {name for name in imported(module, text) if FLOORS[room(name)] < FLOORS[room(module)]}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_in_a_room(module: str) -> None:
    assert room(module) in FLOORS


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    assert climbs(module, MODULES[module].read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "emulator"])
def test_the_emulator_knows_nothing_of_the_loader(module: str) -> None:
    known = {"emulator", "registration", "installation", "hub", "sas", "errors", "process"}
    assert {room(name) for name in imports_of(module)} <= known


def test_no_module_imports_itself_by_a_detour() -> None:
    try:
        TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()
    except CycleError as exc:
        pytest.fail(f"a circle of imports: {' -> '.join(exc.args[1])}")


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("bulkload.wire", "import bulkload.load", {"bulkload.load"}),
        ("bulkload.wire", "from bulkload import load", {"bulkload.load"}),
        ("bulkload.wire", "from bulkload import Hub", {"bulkload"}),
        ("bulkload.wire", "from bulkload.load import Loader", {"bulkload.load"}),
        ("bulkload.upload", "from .load import Loader", {"bulkload.load"}),
        ("bulkload.source.lines", "from ..load.loader import Loader", {"bulkload.load.loader"}),
        ("bulkload.source", "from ..cli import main", {"bulkload.cli"}),
        ("bulkload.wire", "def late():\n    from bulkload.cli import main", {"bulkload.cli"}),
        ("bulkload.wire", "if TYPE_CHECKING:\n    from bulkload.upload import Upload", {"bulkload.upload"}),
        ("bulkload.source.lines", "from .place import Place\nfrom bulkload.errors import Halt\nimport asyncio", set()),
        ("bulkload.source.lines", "from bulkloader import x\nimport load\nfrom load import bulkload", set()),
        ("bulkload.errors", "from bulkload.installation import Flaw", {"bulkload.installation"}),
        ("bulkload.hub", "from bulkload.errors import InputError", set()),
        ("bulkload.ledger", "from bulkload.report import Summary", {"bulkload.report"}),
    ],
)
def test_an_import_that_points_up_is_found_wherever_it_hides(module: str, text: str, expected: set[str]) -> None:
    assert climbs(module, text) == expected


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_its_job_in_one_line(module: str) -> None:
    words = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    assert words
    first = words.split("\n\n")[0]
    assert "\n" not in first
    assert first.endswith((".", ":"))


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_named_for_what_is_left_over(module: str) -> None:
    assert not LEFTOVERS & set(module.split("."))


def test_the_package_is_whole() -> None:
    assert {"bulkload", "bulkload.cli", "bulkload.errors", "bulkload.source.lines"} <= MODULES.keys()
    assert all((path.parent / "__init__.py").exists() for path in MODULES.values())
