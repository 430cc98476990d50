"""Card: what a user has to know of a model, and how what the user asks for becomes what the model's prompt reads.

After model cards (Mitchell et al. 2019); source of the words: defined here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

PROMPTS = ("text", "class", "nothing")

# From the number or a name of a class to its number. Raises ValueError for what is none.
Classes = Callable[[str | int], int]


@dataclass(frozen=True)
class Card:
    """What a user has to know of a model: its sizes, its styles with the phrase of each, and its best settings.

    It is asked for pictures by a "text", a "class" (the number of one, or its name in the list called `classes`), or by
    "nothing". Guidance takes its `course` (see `guidance.py`) from step `first` to `last`; `steps` None: as many as the
    order has by itself.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    styles: dict[str, str] = field(default_factory=dict)  # style: "a ... icon of {}"
    guidance: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    licence: str = ""
    about: str = ""
    prompts: str = "text"
    classes: str = ""
    top_k: int = 0
    course: str = "constant"
    first: int = 0
    last: int | None = None
    steps: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple((int(h), int(w)) for h, w in self.sizes))
        if self.prompts not in PROMPTS:
            raise ValueError(f"a model is asked by {', '.join(PROMPTS)}, its card says {self.prompts!r}")


def asked(card: Card, prompt: str | int | None, classes: Classes | None = None) -> str | int | None:
    """A prompt as the model reads it: words, the number of a class, or None. `classes` knows their names.

    Raises ValueError for what cannot be asked of this model.
    """
    if isinstance(prompt, str) and not prompt.strip():
        prompt = None
    match card.prompts:
        case "text":
            if prompt is None:
                raise ValueError("the prompt is empty: say what to draw")
            if not isinstance(prompt, str):
                raise ValueError(f"{card.name} is asked in words: it has no class {prompt!r}")
            return prompt
        case "class":
            known = "by its number or its name" if classes else "by its number"
            if prompt is None:
                raise ValueError(f"{card.name} draws one of its classes: say which, {known}")
            if classes is not None:
                return classes(prompt)
            text = str(prompt).strip()
            if not (text.isascii() and text.isdecimal() and len(text) < 10):
                raise ValueError(f"{card.name} is asked for a class {known}, a whole number from 0: not {prompt!r}")
            return int(text)
        case _:
            if prompt is not None:
                raise ValueError(f"{card.name} draws what it likes: it cannot be asked for {prompt!r}")
            return None
