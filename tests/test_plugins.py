"""Names that lead to code, and the message for each way in which one can lead nowhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from midstream.networks.classifiers import mnist_cnn
from midstream.plugins import PluginError, find, names, parse

PLUGIN = '''
"""A plug-in as a user would write it."""


class Shift:
    def __init__(self, step: float = 0.1, repeat: int = 1, loud: bool = False, mode: str = "all") -> None:
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        self.options = (step, repeat, loud, mode)

    class Inner:
        pass


def make_shift(step: float) -> Shift:
    return Shift(step)


LIMIT = 3
'''

WriteModule = Callable[[str, str], str]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Write a module that can be imported, and return the path of its file."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def refusal(name: str) -> str:
    with pytest.raises(PluginError) as caught:
        find("attackers", name)
    return str(caught.value)


def test_the_installed_names() -> None:
    assert {"none", "level-1"} <= set(names("attackers"))
    assert {"none", "level-1"} <= set(names("defenders"))
    assert {"digits-cnn", "mnist-cnn", "cifar-cnn", "photo-cnn"} <= set(names("models"))
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "cifar100"} <= set(names("datasets"))
    assert names("models") == sorted(names("models"))
    assert find("models", "mnist-cnn") is mnist_cnn


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("none", "none", {}),
        ("level-1,beta=0.9", "level-1", {"beta": "0.9"}),
        (" a/b.py:C , x = 1 ,y=p=q,z=", "a/b.py:C", {"x": "1", "y": "p=q", "z": ""}),
    ],
)
def test_a_name_with_options(text: str, name: str, options: dict[str, str]) -> None:
    assert parse(text) == (name, options)


@pytest.mark.parametrize("text", ["level-1,beta", "level-1,", "level-1,=3"])
def test_an_option_without_a_value(text: str) -> None:
    with pytest.raises(PluginError, match=r"is not an option; write it as option=value"):
        parse(text)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(PluginError) as caught:
        find("models", "mnist-cn")
    message = str(caught.value)
    assert message.startswith("there is no model called 'mnist-cn'; did you mean 'mnist-cnn'? Known: ")
    assert "auto, cifar-cnn, " in message
    assert message.endswith("Or write torchvision:NAME, timm:NAME, package.module:Name or path/file.py:Name.")


def test_no_name_is_suggested_where_none_is_near() -> None:
    with pytest.raises(PluginError, match=r"there is no data set called 'zzz'\. Known: breast-cancer, "):
        find("datasets", "zzz")


def test_a_dotted_path_and_a_file_lead_to_the_same_text(write_module: WriteModule) -> None:
    path = write_module("shelf.found_both_ways", PLUGIN)
    dotted = find("attackers", "shelf.found_both_ways:Shift")
    in_file = find("attackers", f"{path}:Shift")
    assert dotted().options == in_file().options == (0.1, 1, False, "all")
    assert find("attackers", f"{path}:Shift") is in_file
    assert find("attackers", f"{path}:Shift.Inner").__name__ == "Inner"


def test_a_class_from_a_file_can_be_pickled_by_its_module(write_module: WriteModule) -> None:
    import sys

    cls = find("attackers", f"{write_module('from_a_file', PLUGIN)}:Shift")
    assert vars(sys.modules[cls.__module__])["Shift"] is cls


def test_a_missing_module() -> None:
    assert refusal("no_such_module_here:X") == (
        "'no_such_module_here:X': there is no module 'no_such_module_here'; "
        "is it installed, or its folder on PYTHONPATH?"
    )
    assert "there is no module 'midstream.absent'" in refusal("midstream.absent:X")
    assert "there is no module 'no_such_package'" in refusal("no_such_package.inner:X")


def test_a_missing_file(tmp_path: Path) -> None:
    message = refusal(f"{tmp_path}/absent.py:X")
    assert message.startswith(f"there is no file '{tmp_path}/absent.py'")
    assert repr(str(tmp_path)) in message


@pytest.mark.parametrize("by_file", [False, True])
def test_a_module_that_needs_a_missing_one(write_module: WriteModule, by_file: bool) -> None:
    path = write_module("needs_more", "import numpy_of_tomorrow.linalg\n")
    where = path if by_file else "needs_more"
    assert refusal(f"{where}:X") == (
        f"'{where}:X': importing {where!r} failed, since it needs 'numpy_of_tomorrow', which is not installed"
    )


@pytest.mark.parametrize("by_file", [False, True])
def test_a_module_that_fails(write_module: WriteModule, by_file: bool) -> None:
    path = write_module("fails_inside", "def divide() -> None:\n    1 / 0\n\n\ndivide()\n")
    where = path if by_file else "fails_inside"
    assert refusal(f"{where}:X") == (
        f"'{where}:X': importing {where!r} failed: ZeroDivisionError('division by zero') "
        "(fails_inside.py, line 2, in divide)"
    )


def test_a_module_that_is_not_python(write_module: WriteModule) -> None:
    path = write_module("not_python", "\ndef (:\n")
    message = refusal(f"{path}:X")
    assert "failed: SyntaxError" in message
    assert message.endswith(" (not_python.py, line 2)")


def test_a_module_that_ends_the_process(write_module: WriteModule) -> None:
    path = write_module("script", "import sys\n\nsys.exit(0)\n")
    assert "failed: SystemExit(0) (script.py, line 3)" in refusal(f"{path}:X")


def test_a_module_that_needs_a_file_beside_it(write_module: WriteModule, tmp_path: Path) -> None:
    folder = tmp_path / "aside"
    path = write_module("aside.needs_neighbour", "import neighbour_of_it\n")
    write_module("aside.neighbour_of_it", "")
    assert refusal(f"{path}:X").endswith(
        f"which is not installed; there is one beside it: put {str(folder)!r} on PYTHONPATH"
    )


def test_a_file_without_its_ending_or_its_name(
    write_module: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_module("attacks.mine", PLUGIN)
    assert refusal(path) == f"{path!r} is a file; name an object in it, as {path}:Name"
    monkeypatch.chdir(tmp_path)
    assert refusal("attacks/mine:Shift").endswith(
        "There is a file attacks/mine.py: write attacks/mine.py:Name for it."
    )


def test_a_file_mended_is_read_again(write_module: WriteModule) -> None:
    path = write_module("mended", "1 / 0\n")
    refusal(f"{path}:Shift")
    write_module("mended", PLUGIN)
    assert find("attackers", f"{path}:Shift").__name__ == "Shift"


def test_a_missing_name_in_a_module(write_module: WriteModule) -> None:
    path = write_module("lacks_it", PLUGIN)
    assert refusal("lacks_it:Shfit").startswith(
        "there is no name in lacks_it called 'Shfit'; did you mean 'Shift'?"
    )
    assert refusal(f"{path}:Shift.Outer").startswith(f"there is no name in {path} called 'Outer'")


def test_what_cannot_be_called(write_module: WriteModule) -> None:
    write_module("holds_a_number", PLUGIN)
    assert refusal("holds_a_number:LIMIT") == "'holds_a_number:LIMIT' is a int, which cannot be called"


def test_a_missing_name_in_a_number(write_module: WriteModule) -> None:
    write_module("holds_a_number_too", PLUGIN)
    assert "called 'absent'" in refusal("holds_a_number_too:LIMIT.absent")


@pytest.mark.parametrize("name", ["midstream.networks.classifiers:", ":Shift", ".relative:Shift", "a b:c"])
def test_a_name_that_is_none(name: str) -> None:
    assert repr(name)[1:-1].partition(":")[0] in refusal(name)


def test_code_is_loaded_only_where_it_is_allowed(write_module: WriteModule) -> None:
    path = write_module("dangerous", "raise AssertionError('was imported')\n")
    for name in ("dangerous:Shift", f"{path}:Shift"):
        with pytest.raises(PluginError, match="code that this process was not told to load") as caught:
            find("attackers", name, allowed=["other:Shift"])
        assert str(caught.value).endswith(f"start it with --allow {name}")
    write_module("dangerous", PLUGIN)
    assert find("attackers", f"{path}:Shift", allowed={f"{path}:Shift"}).__name__ == "Shift"


def test_installed_names_are_always_allowed() -> None:
    assert find("models", "mnist-cnn", allowed=[]) is mnist_cnn
