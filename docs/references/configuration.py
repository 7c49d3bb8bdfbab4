"""docs/configuration.md: every setting of every command, and its environment variable."""

import inspect
from collections.abc import Iterable, Iterator

import click

from docs.references.commands import walk
from docs.references.markdown import WRITTEN, body, code, described, table
from midstream import plugins
from midstream.command.main import cli
from midstream.protocol.dataset_defaults import defaults
from midstream.protocol.specification import Specification
from midstream.protocol.tokens import ROLES

_HEAD = """# Configuration

A flag wins over an environment variable, that over the scenario file, that over the default. `--show-
config` on any command prints what it would take, and where each value comes from.

A scenario file is YAML, given to `midstream play`: its keys are the settings of a run and of
`play` below, without the dashes before them.

```yaml
dataset: digits
attacker: level-1,beta=0.9
defender: level-1
epochs: 20
```

It is one flat mapping of at most 64 KiB; a value is taken as its flag takes it, and a null sets nothing. A
name that is set twice, an anchor or alias, a tag and a nested value are refused, by their line.

A server, a proxy and a provider are configured by flags and environment variables; in Docker Compose by
the latter.
"""

_VARIABLES = {
    "MIDSTREAM_TOKEN": "The token that a command shows a server, where `--token-file` is not given.",
    **{
        f"MIDSTREAM_{role.upper()}_TOKEN": f"The {role}'s token, which a service that listens takes, where "
        "`--tokens` is not given."
        for role in ROLES
    },
    "NO_COLOR": "Set to anything, it keeps colours away.",
    "OMP_NUM_THREADS": "CPU threads, where `--threads` is not given.",
    "XDG_CACHE_HOME": "Surrogates are kept in its `midstream/surrogates`, where `--cache` is not given.",
}

_RUN = ("midstream play", "midstream serve", "midstream estimate")
_DATA_SETS = ("digits", "mnist", "mnist-1-vs-7", "fashion-mnist", "cifar10", "cifar100", "folder:PATH")


def page() -> str:
    """Return the page.

    Raises:
        Undocumented: a setting, a data set or a model has no description.
    """
    commands = {path: context.command for path, context in walk(cli)}
    parts = [WRITTEN, _HEAD]
    run = [option for option in _settings(commands[_RUN[0]]) if _of_a_run(option)]
    parts.append(
        "\n## A run\n\nOf `play`, `serve` and `estimate`, and of a scenario.\n\n"
        + _table(run, run=True)
        + "\n"
    )
    parts.append("\nWhat a run takes from its data set:\n\n" + _defaults() + "\n")
    for path, command in commands.items():
        own = [option for option in _settings(command) if path not in _RUN or not _of_a_run(option)]
        if own:
            parts.append(f"\n## {path}\n\n{_table(own, run=False)}\n")
    variables = [[code(name), described(name, text)] for name, text in _VARIABLES.items()]
    parts.append("\n## Other environment variables\n\n" + table(["variable", "meaning"], variables) + "\n")
    kinds: dict[str, plugins.Kind] = {"Data sets": "datasets", "Models": "models"}
    for title, kind in kinds.items():
        rows = [[code(name), _summary(kind, name)] for name in plugins.names(kind)]
        parts.append(f"\n## {title}\n\n{table(['name', 'what it is'], rows)}\n")
    return "".join(parts)


def _settings(command: click.Command) -> Iterator[click.Option]:
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar:
            yield option


def _of_a_run(option: click.Option) -> bool:
    return option.name in Specification.model_fields and option.name not in ("name", "defender", "checker")


def _table(options: Iterable[click.Option], *, run: bool) -> str:
    rows = [
        [
            code(option.opts[0].lstrip("-")),
            _type(option),
            _default(option, run=run),
            code(option.envvar),
            described(option.opts[0], option.help),
        ]
        for option in options
    ]
    return table(["setting", "type", "default", "variable", "meaning"], rows)


def _type(option: click.Option) -> str:
    kind = option.type
    if isinstance(kind, click.Choice):
        return " or ".join(code(choice) for choice in kind.choices)
    names = {
        "integer": "whole number",
        "integer range": "whole number",
        "float": "number",
        "boolean": "switch",
    }
    written = names.get(kind.name, kind.name)
    return f"{written}, repeatable" if option.multiple else written


def _default(option: click.Option, *, run: bool) -> str:
    value = option.to_info_dict()["default"]
    if value is None and run:
        if option.name in defaults("digits"):
            return "of the data set"
        value = Specification.model_fields[str(option.name)].default
    if value is None or value is False or value == ():
        return ""
    return " ".join(map(code, value)) if isinstance(value, (list, tuple)) else code(value)


def _defaults() -> str:
    names = list(dict.fromkeys(name for dataset in _DATA_SETS for name in defaults(dataset)))
    rows = [
        [code(dataset), *(str(defaults(dataset).get(name, "all")) for name in names)]
        for dataset in _DATA_SETS
    ]
    return table(["data set", *(name.replace("_", "-") for name in names)], rows)


def _summary(kind: plugins.Kind, name: str) -> str:
    found = plugins.find(kind, name)
    return described(
        f"{kind} {name}", body(name, inspect.getdoc(found)).partition("\n\n")[0].removeprefix("Return ")
    )
