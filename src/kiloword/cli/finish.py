"""The options of a diffusion decoder: what is asked of it becomes an `Effort`, or an error before anything is loaded.

Groups and overlap after Lee et al. 2023 and Ruhe et al. 2024; see docs/decoder.md.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from kiloword.decoders.decoder import Effort
    from kiloword.tokens import Ramps


@dataclass(frozen=True)
class Finish:
    """How its pixels are painted, by models with a diffusion decoder or that denoise"""

    decoder_steps: Annotated[int | None, Option(help="Steps that each group of pixels takes.")] = None
    groups: Annotated[
        int | None,
        Option(help="In so many groups, each sharp before the next (see --overlap); of tokens, if these are denoised."),
    ] = None
    overlap: Annotated[
        float | None, Option(help="0 paints all groups at once, 1 one after the other, 0.25 four at a time.")
    ] = None
    grouping: Annotated[str | None, Option(help="What comes first: rows, rows-up, centre or frequency.")] = None
    solver: Annotated[str | None, Option(help="euler, heun or ddim.")] = None
    decoder_guidance: Annotated[float | None, Option(help="How closely to follow the tokens; 1 is off.")] = None


# Option: the field of `Effort` that it changes.
FIELDS = {
    "decoder_steps": "steps", "groups": "groups", "overlap": "overlap", "grouping": "grouping", "solver": "solver",
    "decoder_guidance": "guidance",
}  # fmt: skip


def effort_of(finish: Finish, decoder: Any, model: str) -> "Effort | None":
    """The model's own effort with what was asked for; None if nothing was.

    `decoder` is the config of the model's diffusion decoder. Raises ValueError where there is none, and for values that
    no decoder takes.
    """
    from dataclasses import replace

    from kiloword.cli.messages import say
    from kiloword.decoders.decoder import SOLVERS
    from kiloword.decoders.patches import GROUPINGS

    given = {name: getattr(finish, name) for name in FIELDS if getattr(finish, name) is not None}
    if not given:
        return None
    if decoder is None:
        asked = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
        raise ValueError(f"{asked}: {without(model)}, or leave {'this' if len(given) == 1 else 'these'} out")
    for name, table in {"grouping": GROUPINGS, "solver": SOLVERS}.items():
        if name in given and given[name] not in table:
            raise ValueError(f"--{name} is {given[name]!r}: choose {', '.join(table)}")
    effort = replace(decoder.effort, **{FIELDS[name]: value for name, value in given.items()})
    if finish.groups is not None and effort.groups > 1 and effort.overlap == 0:
        say(f"note: with an overlap of 0 all {effort.groups} groups are painted at once; try --overlap 1")
    return effort


def ramps_of(finish: Finish, steps: int | None, config: Any) -> "tuple[Finish, int | Ramps | None]":
    """Groups and overlap as they are meant for the tokens, by models that denoise these and have no decoder besides;
    and what is left for a decoder."""
    from dataclasses import replace

    from kiloword.orders.denoise import DenoiseConfig
    from kiloword.tokens import Ramps

    order = config.picture.order
    asked = finish.groups is not None or finish.overlap is not None
    if config.decoder is not None or not isinstance(order, DenoiseConfig) or not asked:
        return finish, steps
    groups = order.groups if finish.groups is None else finish.groups
    overlap = order.overlap if finish.overlap is None else finish.overlap
    return replace(finish, groups=None, overlap=None), Ramps(groups, overlap, steps)


def without(model: str) -> str:
    """What to say of a model whose tokenizer makes the pixels."""
    return f"{model} has no diffusion decoder: teach it one with kiloword train decoder-128 --from {model}"
