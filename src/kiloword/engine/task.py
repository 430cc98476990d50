"""Tasks: drawing, writing and scoring texts as state machines that send positions and get hidden vectors back.

A task never runs the transformer itself: whoever does is a driver (`drive.py`). The idea of one step at a time, so that
works can be batched between any two of them, is Yu et al. 2022 (Orca).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Noise
from kiloword.opening import Opening, following
from kiloword.tokens import Document
from kiloword.transformer import Stream

# Axes: r sequences of a batch, q positions now, a of them whose output is needed, w width, b texts, m tokens of a text.


@dataclass(frozen=True)
class Batchlet:
    """What a task sends through the transformer in one pass, and how many positions of each sequence stay in its cache.

    Without a span in the stream, all of its positions see each other; positions that do not stay stand last.
    """

    stream: Stream
    keep: Int[Tensor, "r"]

    @property
    def positions(self) -> int:
        """How many there are, of all sequences."""
        return self.stream.vectors.shape[0] * self.stream.vectors.shape[1]


class Task(ABC):
    """Needs a cache of `sequences` and `capacity` positions each: those of its opening, which goes through the
    transformer first, and `added` more. One that is not `cached` (capacity 0) sends its whole input every time."""

    def __init__(self, opening: Opening, added: int, cached: bool = True):
        before = opening.stream.vectors.shape[1]
        self.opening, self.sequences, self.capacity = opening, len(opening.time), before + added if cached else 0
        self._unread = cached and before > 0

    def ask(self) -> Batchlet | None:
        """What goes through the transformer next; None when it is finished. The same again until the hidden vectors
        are given."""
        return Batchlet(self.opening.stream, self.opening.lengths) if self._unread else self._next()

    def take(self, hidden: Float[Tensor, "r a w"]) -> None:
        """Go on with the hidden vectors of the last batchlet."""
        if self._unread:
            self._unread = False
        else:
            self._advance(hidden)

    @abstractmethod
    def _next(self) -> Batchlet | None:
        """What goes through the transformer next, after the opening."""

    @abstractmethod
    def _advance(self, hidden: Float[Tensor, "r a w"]) -> None:
        """One step on, with the hidden vectors of the last batchlet."""


class WriteTask(Task):
    """A text for each document, whose last segment is the text to predict: token by token until all have ended or
    the limit is reached. Raises ValueError if the model has no text."""

    def __init__(self, model: ImageModel, documents: Sequence[Document], sampling: Sampling, noise: Noise):
        if model.text is None:
            raise ValueError("this model only draws: it has no text to write")
        super().__init__(model.opening(documents), model.text.limit)
        self.text, self.sampling, self.noise = model.text, sampling, noise
        self.modulation = self.opening.modulation(None, model.transformer.modulated)
        device, end, limit = self.opening.time.device, self.text.tokenizer.end, self.text.limit
        self.position = 0
        self.ids = torch.full((self.sequences, limit), end, device=device)
        self.alive = torch.ones(self.sequences, dtype=torch.bool, device=device)
        self.schedule, self.line = self.text.schedule(self.sequences, limit)
        self.level = torch.ones(self.ids.shape, device=device)
        self._weights = torch.ones(1, self.sequences, device=device)

    def _next(self) -> Batchlet | None:
        if self.finished:
            return None
        index = torch.full((self.sequences, 1), self.position, device=self.ids.device)
        fed = self.text.order.feed(self.ids, self.schedule, self.level, index, self.line)
        vectors, _ = self.text.head.enter(fed, self.line)
        start = self.opening.condition.start
        vectors = vectors if start is None or self.position else vectors + start[:, None]
        positions = torch.zeros(self.sequences, 1, 4, device=vectors.device)
        positions[..., 0] = (self.opening.time + self.position)[:, None]
        stream = Stream(vectors, positions, modulation=self.modulation, context=self.opening.condition.context)
        return Batchlet(stream, torch.ones(self.sequences, dtype=torch.long))

    def _advance(self, hidden: Float[Tensor, "r a w"]) -> None:
        chosen = self.text.head.sample(
            hidden[None], self._weights, None, self.sampling, self.noise, torch.arange(self.sequences)
        )
        end = self.text.tokenizer.end
        self.ids[:, self.position] = torch.where(self.alive, chosen[:, 0], end)
        self.alive = self.alive & (chosen[:, 0] != end)
        self.position += 1

    @property
    def finished(self) -> bool:
        return self.position == self.text.limit or not bool(self.alive.any())

    def texts(self) -> list[str]:
        """What has been written so far."""
        return [self.text.tokenizer.decode(ids) for ids in self.ids.tolist()]


class ReadTask(Task):
    """The likelihood of texts as the last segment of documents: several wordings of each, one after the other; what is
    before them goes through the transformer once."""

    def __init__(self, model: ImageModel, documents: Sequence[Document], wordings: Sequence[list[str]]):
        if model.text is None:
            raise ValueError("this model only draws: it has no text to read its pictures back in")
        self.text, self.modulated = model.text, model.transformer.modulated
        self.wordings = [self.text.encode(list(texts)) for texts in wordings]
        self.log_likelihoods: list[Tensor] = []
        super().__init__(model.opening(documents), max(ids.shape[1] for ids, _ in self.wordings))

    def _next(self) -> Batchlet | None:
        if len(self.log_likelihoods) == len(self.wordings):
            return None
        ids, present = self.wordings[len(self.log_likelihoods)]
        stream = following(self.opening, self.text.span(ids, present, self.opening.condition.start), self.modulated)
        return Batchlet(stream, torch.zeros(self.sequences, dtype=torch.long))

    def _advance(self, hidden: Float[Tensor, "r a w"]) -> None:
        ids, present = self.wordings[len(self.log_likelihoods)]
        losses = self.text.head.loss(hidden, ids, None, None)
        self.log_likelihoods.append(-torch.where(present, losses, 0).sum(1))

    def log_likelihood(self) -> Float[Tensor, "r"]:
        """log p(any one of the wordings | document)."""
        return torch.stack(self.log_likelihoods).logsumexp(0)
