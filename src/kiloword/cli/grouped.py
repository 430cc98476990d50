"""Options in groups: a command takes a few dataclasses, and every field of them is an option in a panel of the help.

Source: defined here; typer reads a command's signature, so the fields are written into it.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import OptionInfo


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command of dataclasses as a command of all their fields; a dataclass's docstring is its panel's title."""
    groups = {name: group for name, group in get_type_hints(command).items() if name != "return"}
    parameters = [parameter for group in groups.values() for parameter in _parameters(group)]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        command(**{
            name: group(**{field.name: values[field.name] for field in fields(group)})
            for name, group in groups.items()
        })  # fmt: skip

    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    flat.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return flat


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    found = []
    for field in fields(group):
        kind, option = get_args(hints[field.name])
        if isinstance(option, OptionInfo):
            option.rich_help_panel = inspect.getdoc(group)
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        kind_of_parameter = inspect.Parameter.KEYWORD_ONLY
        found.append(
            inspect.Parameter(field.name, kind_of_parameter, default=default, annotation=Annotated[kind, option])
        )
    return found
