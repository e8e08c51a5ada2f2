"""A user's function stands in place of each, where and map; what goes wrong in it is that record's flaw."""

import asyncio
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkload.errors import InputError
from bulkload.installation import Checker, Fields, Flaw
from bulkload.mapping import Intake, Mapping, MappingFlags, build

DEVICES = """
import beside

def transform(user):
    for device in user["devices"]:
        yield {"installationId": device["id"], "platform": beside.PLATFORM, "pushChannel": device["token"]}

def other(user):
    return [{"installationId": "other"}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose modules are forgotten again."""
    path, modules = [*sys.path], {*sys.modules}
    (tmp_path / "beside.py").write_text("PLATFORM = 'apns'\n")
    yield tmp_path
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        del sys.modules[name]


def mapping(transform: object, **flags: Any) -> Mapping:
    built = build(MappingFlags(transform=transform, **flags))  # type: ignore[arg-type]
    assert built is not None
    return built


def made(transform: object, source_object: Fields, **flags: Any) -> list[Fields | Flaw]:
    every = mapping(transform, **flags).installations(source_object)
    return [one if isinstance(one, Flaw) else one[0] for one in every if one is not None]


def written(folder: Path, text: str) -> Path:
    file = folder / "devices.py"
    file.write_text(text)
    return file


def flaw(transform: object, source_object: Fields) -> Flaw:
    (one,) = made(transform, source_object)
    assert isinstance(one, Flaw)
    assert one.code == "mapping-failed"
    assert len(one.message.splitlines()) == 1
    return one


USER = {"country": "DE", "devices": [{"id": "1", "token": "a"}, {"id": "2", "token": "b"}]}


def test_a_file_yields_installations_and_imports_what_stands_beside_it(folder: Path) -> None:
    file = written(folder, DEVICES)
    assert made(file, USER) == [
        {"installationId": "1", "platform": "apns", "pushChannel": "a"},
        {"installationId": "2", "platform": "apns", "pushChannel": "b"},
    ]
    assert made(f"{file}:other", USER) == [{"installationId": "other"}]
    assert not (folder / "__pycache__" / f"devices.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc").exists()


def test_its_folder_stays_importable_for_imports_within_functions(folder: Path) -> None:
    file = written(folder, "def transform(user):\n    import beside\n    yield {'platform': beside.PLATFORM}\n")
    assert made(file, {}) == [{"platform": "apns"}]


def test_a_file_may_have_dataclasses(folder: Path) -> None:
    file = written(
        folder,
        "from __future__ import annotations\nfrom dataclasses import dataclass, asdict\n@dataclass\nclass Device:\n"
        "    installationId: str\ndef transform(user):\n    yield asdict(Device(user['id']))\n",
    )
    assert made(file, {"id": "1"}) == [{"installationId": "1"}]


def test_the_other_flags_act_on_what_it_yields() -> None:
    def transform(user: Fields) -> Iterable[Fields]:
        yield {"installationId": "1", "platform": "Android", "color": "red", "userId": None, "tags": "a|b"}

    (one,) = made(
        transform,
        USER,
        map_value={"platform": {"android": "fcmv1"}},
        default={"userId": "nobody"},
        tag=("country:{_parent.country}", "{color}"),
    )
    assert one == {
        "installationId": "1",
        "platform": "fcmv1",
        "color": "red",
        "userId": "nobody",
        "tags": ["a", "b", "country:DE", "red"],
    }


def test_it_gets_a_row_as_its_cells() -> None:
    def transform(row: Fields) -> Iterable[Fields]:
        yield {"installationId": row["templates.a.body"], "tags": row["tags"], "userId": row["user"]}

    row = {"templates.a.body": "1", "tags": "a|b", "user": ""}
    assert [*mapping(transform).of_row(row)] == [({"installationId": "1", "tags": ["a", "b"]}, ())]


def test_json_columns_are_read_before_it() -> None:
    assert made(lambda row: [row["meta"]], {"meta": '{"userId": "kim"}'}, json_column=("meta",)) == [{"userId": "kim"}]


def test_it_may_change_its_object_and_the_source_object_stays() -> None:
    def transform(user: Fields) -> Iterable[Fields]:
        yield {"installationId": user.pop("id")}

    user = {"id": "1", "n": 2}
    assert made(transform, user) == [{"installationId": "1"}]
    assert user == {"id": "1", "n": 2}


def test_what_it_yields_again_and_again_is_taken_as_it_was() -> None:
    def transform(user: Fields) -> Iterable[Fields]:
        device: Fields = {"tags": []}
        for number in range(2):
            device["tags"].append(str(number))
            yield device

    assert made(transform, {}) == [{"tags": ["0"]}, {"tags": ["0", "1"]}]
    assert [*mapping(transform).installations({})] == [({"tags": ["0"]}, ()), ({"tags": ["0", "1"]}, ())]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [([], []), (iter([{"userId": "a"}]), [{"userId": "a"}]), ({"userId": "a"}, [{"userId": "a"}]), ((), [])],
)
def test_any_iterable_will_do_and_one_installation_too(returned: Any, expected: list[Fields]) -> None:
    assert made(lambda _: returned, {}) == expected


def test_an_exception_is_the_records_flaw_and_what_came_before_it_stands(folder: Path) -> None:
    file = written(folder, DEVICES)
    user = {"installationId": "u", "devices": [{"id": "1", "token": "a"}, {"id": "2"}, {"id": "3", "token": "c"}]}
    first, second = made(file, user)
    assert first == {"installationId": "1", "platform": "apns", "pushChannel": "a"}
    assert isinstance(second, Flaw)
    assert second.code == "mapping-failed"
    assert second.message == f"--transform {file}, line 6: KeyError: 'token'"


def test_the_line_is_the_files_own_however_deep_the_exception(folder: Path) -> None:
    file = written(folder, "import json\ndef transform(user):\n    yield json.loads(user['x'])\n")
    assert ", line 3: JSONDecodeError: " in flaw(file, {"x": "{"}).message


@pytest.mark.parametrize(
    "exception", [ValueError("a\nb"), RecursionError(), StopIteration(1), AssertionError(), OSError(5, "x")]
)
def test_whatever_it_raises_is_a_flaw(exception: Exception) -> None:
    def transform(user: Fields) -> Iterable[Fields]:
        raise exception

    assert type(exception).__name__ in flaw(transform, {}).message
    assert "test_mapping_transform" in flaw(transform, {}).message


def test_a_text_of_the_object_never_stands_in_the_message() -> None:
    token = "0123456789abcdef" * 4

    def transform(user: Fields) -> Iterable[Fields]:
        raise ValueError(f"bad token {user['device']['tokens'][0]}")

    assert flaw(transform, {"device": {"tokens": [token]}}).message.endswith("ValueError: bad token …")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "the function returned NoneType; yield installations, or return a list of them"),
        (5, "the function returned int"),
        ("text", "the function returned str"),
        (["a"], "an installation is a dict, the function yielded a str"),
        ([None], "an installation is a dict, the function yielded a NoneType"),
        ([{"tags": {"a"}}], "cannot be written as JSON"),
        ([{1: "a"}], "cannot be written as JSON"),
        ([{"userId": "\ud800"}], "cannot be written as JSON"),
    ],
)
def test_what_is_no_installation_is_a_flaw(returned: Any, words: str) -> None:
    assert words in flaw(lambda _: returned, {}).message


def test_a_flaw_among_what_it_yields_ends_nothing() -> None:
    first, second = made(lambda _: ["a", {"userId": "b"}], {})
    assert isinstance(first, Flaw)
    assert second == {"userId": "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def transform(user):\n    yield {\n", ", line 2: '{' was never closed"),
        ("import nowhere_to_be_found\n", ", line 1: ModuleNotFoundError: "),
        ("x = 1\ny = x / 0\n", ", line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('done')\n", ", line 2: SystemExit: done"),
        ("def tranform(user):\n    yield {}\n", ": there is no function transform; name another as "),
        ("transform = 5\n", ": there is no function transform"),
        ("async def transform(user):\n    yield {}\n", ": the function is asynchronous"),
        ("async def transform(user):\n    return []\n", ": the function is asynchronous"),
        ("\0", ""),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(folder: Path, text: str, words: str) -> None:
    file = written(folder, text)
    with pytest.raises(InputError) as caught:
        mapping(file)
    assert f"--transform {file}{words}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_broken_file_that_it_imports_is_named(folder: Path) -> None:
    (folder / "broken.py").write_text("x = (\n")
    with pytest.raises(InputError, match=r"broken\.py, line 1: "):
        mapping(written(folder, "import broken\n"))


def test_a_function_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no function nope"):
        mapping(f"{written(folder, DEVICES)}:nope")


def test_the_files_content_is_the_fingerprint_and_not_where_it_stands(folder: Path) -> None:
    one = written(folder, DEVICES)
    (folder / "else").mkdir()
    (folder / "else" / "beside.py").write_text("")
    other = folder / "else" / "renamed.py"
    other.write_text(DEVICES)
    assert mapping(one).fingerprint == mapping(other).fingerprint == mapping(f"{one}:transform").fingerprint
    assert mapping(f"{one}:other").fingerprint != mapping(one).fingerprint
    other.write_text(DEVICES + "\n")
    assert mapping(one).fingerprint != mapping(other).fingerprint


def _one(user: Fields) -> Iterable[Fields]:
    yield user


def _two(user: Fields) -> Iterable[Fields]:
    yield user


class _Callable:
    def __call__(self, user: Fields) -> Iterable[Fields]:
        yield user


CALLABLES: list[Callable[[Fields], Iterable[Fields]]] = [
    _one,
    _two,
    functools.partial(_one),
    _Callable(),
    lambda user: [user],
    lambda user: [user, user],
]


def test_callables_are_told_apart_by_name_and_source() -> None:
    prints = [mapping(function).fingerprint for function in CALLABLES]
    assert len({*prints}) == len(CALLABLES)
    assert mapping(_Callable()).fingerprint == mapping(CALLABLES[3]).fingerprint
    assert all(made(function, {"userId": "a"})[0] == {"userId": "a"} for function in CALLABLES)


def test_what_it_yields_is_checked_like_any_other() -> None:
    intake = Intake(
        Checker(), mapping(lambda user: [{"installationId": "1", "platform": "apns", "pushChannel": "00ff"}, {}])
    )
    good, bad = intake.records(b"{}")
    assert not isinstance(good, Flaw)
    assert isinstance(bad, Flaw)
    assert bad.code == "id-missing"


def test_a_function_that_never_ends_is_a_flaw_after_a_great_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkload.mapping.transform.MOST", 1000)

    def endless(user: Fields) -> Iterator[Fields]:
        while True:
            yield {"installationId": user["id"]}

    *before, last = made(endless, {"id": "d"})
    assert before == [{"installationId": "d"}] * 1000
    assert isinstance(last, Flaw)
    assert "does it end?" in last.message


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize("exc", [SystemExit(3), asyncio.CancelledError(), GeneratorExit(), Wordless(), StopIteration()])
@pytest.mark.parametrize("is_late", [True, False])
def test_whatever_a_function_raises_is_the_flaw_of_its_object(exc: BaseException, is_late: bool) -> None:
    def late(user: Fields) -> Iterator[Fields]:
        yield user
        raise exc

    def early(user: Fields) -> Iterable[Fields]:
        raise exc

    *before, last = made(late if is_late else early, {"installationId": "d"})
    assert before == [{"installationId": "d"}] * is_late
    assert isinstance(last, Flaw)
    assert type(exc).__name__ in last.message or isinstance(exc, StopIteration)
