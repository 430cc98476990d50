"""The idea: an image model is modalities around one transformer, a prompt at its entrance, a decoder at its exit.

Its check, its loss over documents, and the slow, clear reference of generation; the fast drivers (`engine/`) are tested
equal to it. Chen et al. 2020 (Image GPT), Ramesh et al. 2021 (DALL-E), Zhou et al. 2024 (Transfusion).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from kiloword.decoders.decoder import Decoder, Own
from kiloword.document import drawn
from kiloword.drawing import Drawing, DrawingState, Progress
from kiloword.embedding import Embedding, Loss
from kiloword.heads.head import memo_at
from kiloword.modality import Modality, TextModality
from kiloword.noise import Noise
from kiloword.opening import Opening, behind, join, opened
from kiloword.prompts.prompt import Prompt
from kiloword.tokens import Document, Picture, Prompted
from kiloword.transformer import Transformer


class ImageModel(nn.Module):
    """Text and pictures around one transformer. Without `text` the model only generates pictures; `decoder` None: the
    tokenizer's own. Raises ValueError if the parts do not fit together."""

    def __init__(
        self, picture: Modality, prompt: Prompt, transformer: Transformer, text: TextModality | None = None,
        decoder: Decoder | None = None,
    ):  # fmt: skip
        super().__init__()
        self.picture, self.prompt, self.transformer, self.text = picture, prompt, transformer, text
        self.decoder = decoder
        if decoder is not None:
            decoder.work_from(picture.tokenizer)
        self.check()

    @property
    def pixel_decoder(self) -> Decoder:
        """The decoder from tokens to pixels."""
        return Own(self.picture.tokenizer) if self.decoder is None else self.decoder

    def check(self) -> None:
        """Raise ValueError, with the reason, if these parts do not go together."""
        modalities = {"picture": self.picture, **({"text": self.text} if self.text else {})}
        for name, modality in modalities.items():
            if (space := modality.tokenizer.space) != (predicted := modality.head.space):
                raise ValueError(f"{name}: the tokenizer gives {space} and the head predicts {predicted}")
        parts = {"transformer": self.transformer, "prompt": self.prompt}
        parts |= {f"{name} head": modality.head for name, modality in modalities.items()}
        if len({part.width for part in parts.values()}) > 1:
            widths = ", ".join(f"{name} {part.width}" for name, part in parts.items())
            raise ValueError(f"all parts must have one width, these differ: {widths}")
        if self.picture.order.feeds_canvas != (self.picture.head.canvas > 0):
            feeds, takes = ("tokens", "canvases") if self.picture.head.canvas else ("canvases", "tokens")
            raise ValueError(f"this order feeds {feeds}, and the head's entrance takes {takes}")
        if self.picture.order.gradual != self.picture.head.denoising:
            takes, draws = ("steps", "whole") if self.picture.order.gradual else ("one go", "by steps")
            raise ValueError(f"this order makes tokens known in {takes}, and the head draws them {draws}")
        if (self.picture.order.causal or self.picture.order.gradual) and not self.transformer.causal:
            raise ValueError("this order draws later tokens from earlier ones, and the transformer shows all to all")
        tokenizer, head, decoder = self.picture.tokenizer, self.picture.head, self.pixel_decoder
        if head.modulates and not self.transformer.modulated:
            raise ValueError("the head tells each token's level to the blocks, and nothing modulates the transformer's")
        if self.transformer.modulated and not (head.modulates or self.prompt.modulates):
            raise ValueError("the transformer is modulated, and neither the prompt nor the head has a vector for it")
        if self.decoder is None and tokenizer.way_back:
            raise ValueError(tokenizer.way_back)
        if decoder.space != tokenizer.space:
            raise ValueError(f"the tokenizer gives {tokenizer.space} and the decoder takes {decoder.space}")
        if (stride := tokenizer.stride) != (covers := decoder.stride):
            raise ValueError(f"the tokenizer's tokens cover {stride} pixels a side, the decoder's {covers}")
        if self.transformer.cross_attends != bool(self.prompt.context_positions):
            missing = "the prompt has none" if self.transformer.cross_attends else "the transformer attends to none"
            raise ValueError(f"a context takes a prompt that has it and a transformer that attends to it: {missing}")
        if self.prompt.predicted and self.text is None:
            raise ValueError("this prompt is to be predicted too, and the model has no text to say it in")

    # Training

    def loss(
        self, documents: Sequence[Document], noise: Noise | None = None, capacity: int = 64, done: float = 1.0
    ) -> dict[str, Loss]:
        """The losses of all tokens to predict, by name: "picture", "text", and "prompt" for texts from which a picture
        is drawn and which are predicted too. A name of which nothing is predicted is left out.

        Documents are packed into sequences of about `capacity` positions. `noise` has numbers for each picture to
        predict, in their order (None: torch's own generator); `done` is the share of a training that has passed. Raises
        ValueError if there is nothing to predict, or the model cannot read or predict a segment.

            loss = model.loss([[Text("a red apple"), Picture(layout, tokens, predict=True)]])["picture"].mean()
        """
        embedding = self.embedding(documents)
        embedding.read_prompts()
        embedding.draw_pictures(noise, done)
        embedding.read_pictures()
        embedding.write_texts()
        if not embedding.predicted:
            raise ValueError(
                "nothing is to be predicted in these documents, so there is no loss: set predict=True on a segment"
            )
        laid = embedding.lay(capacity, self.transformer.modulated)
        return embedding.losses(laid, self.transformer(laid.stream))

    def embedding(self, documents: Sequence[Document]) -> Embedding:
        """The documents, ready to be embedded. Raises ValueError for those that the transformer does not support."""
        embedding = Embedding(self.prompt, self.picture, self.text, documents)
        if not self.transformer.causal:
            for entries in embedding.documents:
                if [type(entry.segment) for entry in entries] != [Prompted, Picture] or not drawn(entries[1].segment):
                    raise ValueError(
                        "this transformer shows all to all: its documents are a prompt and a picture to predict"
                    )
        return embedding

    def opening(self, documents: Sequence[Document], null: bool = False) -> Opening:
        """The embedded context of the last segment of each document, which is the one to be generated. With `null`
        every prompt is the null condition, for classifier-free guidance (Ho and Salimans 2022).

            views = [model.opening(documents, null) for null in (False, True)]
        """
        embedding = self.embedding(documents)
        embedding.read_prompts(null)
        embedding.read_pictures()
        last = {id(places[-1]) for places in embedding.documents}
        embedding.write_texts(lambda place: id(place) not in last)
        laid = embedding.lay(None, self.transformer.modulated, lambda place: drawn(place.segment) or id(place) in last)
        return opened(laid, embedding.condition_of([places[-1] for places in embedding.documents]))

    # Generation, slow and clear

    @torch.no_grad()
    def draw(self, drawing: Drawing, noise: Noise) -> Iterator[Progress]:
        """Generate pictures without a cache: the progress after every step. `noise` has a stream for each picture.

        *_, last = model.draw(Drawing(layout, [model.opening(documents)], torch.ones(1, 1)), Seeded([0]))
        """
        state, opening = DrawingState(self.picture, drawing, noise), join(drawing.views)
        for step in range(state.first, state.steps):
            index = state.up_to(step)
            rank = state.rank(step).gather(1, index)
            span, memo = self.picture.drawn_span(state.feed(step, index), state.schedule, rank, drawing.layout)
            steps = rank if state.causal else torch.full_like(rank, step)
            stream = behind(opening, span, self.transformer.modulated, drawing.hidden_guidance(steps))
            hidden = self.transformer(stream)[:, -index.shape[1] :].unflatten(0, (-1, drawing.count))
            visited = state.visited(step)
            now = (index[:, None] == visited[:, :, None]).int().argmax(-1)
            pictures = torch.arange(drawing.count, device=now.device)[:, None]
            state.sample_into(step, visited, hidden[:, pictures, now], memo_at(memo, now))
            yield state.progress(step)
