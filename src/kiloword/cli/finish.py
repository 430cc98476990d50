"""The options of a diffusion decoder: they become an `Effort`, or an error before anything is loaded.

Groups and overlap after Lee et al. 2023 and Ruhe et al. 2024; see docs/decoder.md.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

if TYPE_CHECKING:
    from kiloword.decoders.decoder import Effort
    from kiloword.tokens import Ramps


@dataclass(frozen=True)
class DecoderOptions:
    """How pixels, or denoised tokens, are drawn (defaults: the model's)"""

    decoder_steps: Annotated[int | None, Option(help="Denoising steps of each group of patches.")] = None
    groups: Annotated[
        int | None,
        Option(
            help="Denoise in this many groups (see --overlap): of patches, or of tokens if the model denoises these."
        ),
    ] = None
    overlap: Annotated[
        float | None, Option(help="0: all groups at once; 1: one after the other; 0.25: four at a time.")
    ] = None
    grouping: Annotated[
        str | None, Option(help="Which patches form the first groups: rows (top down), rows-up, centre or frequency.")
    ] = None
    solver: Annotated[str | None, Option(help="How a step is computed: euler, heun or ddim.")] = None
    decoder_guidance: Annotated[float | None, Option(help="Guidance by the tokens; 1 is off.")] = None


# Option: the field of `Effort` that it changes.
FIELDS = {
    "decoder_steps": "steps", "groups": "groups", "overlap": "overlap", "grouping": "grouping", "solver": "solver",
    "decoder_guidance": "guidance",
}  # fmt: skip


def effort_of(options: DecoderOptions, decoder: Any, model: str) -> "Effort | None":
    """The model's default effort with the options that were given; None if none was.

    `decoder` is the config of the model's diffusion decoder. Raises ValueError if there is none, and for invalid
    values.
    """
    from dataclasses import replace

    from kiloword.cli.messages import say
    from kiloword.decoders.decoder import SOLVERS
    from kiloword.decoders.patches import GROUPINGS

    given = {name: getattr(options, name) for name in FIELDS if getattr(options, name) is not None}
    if not given:
        return None
    if decoder is None:
        listed = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
        raise ValueError(f"{listed}: {without(model)}, or leave {'this' if len(given) == 1 else 'these'} out")
    for name, table in {"grouping": GROUPINGS, "solver": SOLVERS}.items():
        if name in given and given[name] not in table:
            raise ValueError(f"--{name} is {given[name]!r}: choose {', '.join(table)}")
    effort = replace(decoder.effort, **{FIELDS[name]: value for name, value in given.items()})
    if options.groups is not None and effort.groups > 1 and effort.overlap == 0:
        say(f"note: with an overlap of 0 all {effort.groups} groups are denoised at once; try --overlap 1")
    return effort


def ramps_of(options: DecoderOptions, steps: int | None, config: Any) -> "tuple[DecoderOptions, int | Ramps | None]":
    """The options left for a decoder, and the steps of the tokens: with groups and overlap if the model denoises tokens
    and has no diffusion decoder."""
    from dataclasses import replace

    from kiloword.orders.denoise import DenoiseConfig
    from kiloword.tokens import Ramps

    order = config.picture.order
    given = options.groups is not None or options.overlap is not None
    if config.decoder is not None or not isinstance(order, DenoiseConfig) or not given:
        return options, steps
    groups = order.groups if options.groups is None else options.groups
    overlap = order.overlap if options.overlap is None else options.overlap
    return replace(options, groups=None, overlap=None), Ramps(groups, overlap, steps)


def without(model: str) -> str:
    """The message for a model without a diffusion decoder."""
    return f"{model} has no diffusion decoder: train one with kiloword train decoder-128 --from {model}"
