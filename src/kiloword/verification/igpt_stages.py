"""Recorded stages of Image GPT, recomputed here: pixels read and drawn, with and without a cache, and the probe.

Chen et al. 2020 (Generative Pretraining from Pixels); github.com/openai/image-gpt and transformers.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kiloword.document import to_draw, to_learn
from kiloword.drawing import Drawing, Progress
from kiloword.engine.drive import draw
from kiloword.heads.head import Sampling
from kiloword.model import ImageModel
from kiloword.noise import Recorded, Seeded
from kiloword.tokens import Layout
from kiloword.verification import igpt_palette_stages
from kiloword.verification.hooks import recorded_calls
from kiloword.verification.proof import Proof, Record, Stages

# Axes: b pictures, n pixels, v colours, w width.


LIKELIEST = Sampling(temperature=0)


def stages(record: Record) -> Stages:
    """Logits of recorded pixels at once and with the cache; greedy pictures with the cache, sampled ones from recorded
    uniforms without it; the probe, which is a matrix on the mean of the hidden vectors."""
    model, tensors = record.system, record.tensors
    head, tokenizer = model.picture.head, model.picture.tokenizer
    layout = tokenizer.layout(*tensors["in.image_u8"].shape[1:3])
    ids = tensors["in.tokens"].long()

    def read() -> Tensor:
        return model.loss(to_learn([None] * len(ids), layout, ids))["picture"].values

    def hidden() -> Tensor:
        return recorded_calls(head.output, read)[0][0]

    def logits() -> Tensor:
        return recorded_calls(head.output, read)[1][0]

    def probed() -> Tensor:
        return cross_entropy(hidden().mean(1) @ record.weights["model/clf/wclf"].T, tensors["in.labels"])

    def sampled() -> Tensor:
        chances = tensors["in.uniforms"].T
        return last(model.draw(drawing(model, layout, len(chances)), Recorded(chances)))

    def cached_draw(request: Drawing) -> Tensor:
        return last(draw(model, request, Seeded([0] * request.count)))

    def likeliest() -> Tensor:
        return cached_draw(begun(model, layout, tensors))

    def steps(request: Drawing) -> Tensor:
        answers = recorded_calls(head.output, lambda: cached_draw(request))[1]
        return torch.cat([answer[0] for answer in answers], dim=1)

    def cached() -> Tensor:
        given = torch.ones_like(ids, dtype=torch.bool)
        return steps(replace(drawing(model, layout, len(ids)), tokens=ids, given=given))

    def greedy_logits() -> Tensor:
        """The port's logits begin behind the given pixel."""
        return steps(begun(model, layout, tensors))[:, layout.count - tensors["out.greedy_logits"].shape[1] :]

    table = {
        **igpt_palette_stages.stages(replace(record, system=tokenizer)),
        "out.hidden_after_embed": lambda: recorded_calls(head.entrance, read)[1][0],
        "out.hidden_last": hidden,
        "out.tf_logits": logits,
        "out.gen_logits": logits,
        "out.gen_loss": lambda: read().mean(),
        "out.clf_loss": probed,
        "out.cached_logits": cached,
        "out.greedy_ids": likeliest,
        "out.greedy_logits": greedy_logits,
        "out.greedy_image_u8": lambda: igpt_palette_stages.picture(tokenizer, likeliest(), layout),
        "out.samp_ids": sampled,
    }
    return {name: stage for name, stage in table.items() if name in tensors}


def drawing(model: ImageModel, layout: Layout, count: int) -> Drawing:
    """A request for so many pictures."""
    return Drawing(layout, [model.opening(to_draw([None] * count, layout))], torch.ones(1, count))


def begun(model: ImageModel, layout: Layout, tensors: dict[str, Tensor]) -> Drawing:
    """The likeliest pixels behind a first one that is given: in the port to every picture, in OpenAI's recording to
    all but the first one, so that they differ."""
    tokens = torch.zeros_like(tensors["out.greedy_ids"], dtype=torch.long)
    given = torch.zeros_like(tokens, dtype=torch.bool)
    if "in.first_token" in tensors:
        tokens[:, 0], given[:, 0] = tensors["in.first_token"], True
    else:
        tokens[:, 0], given[1:, 0] = tensors["out.greedy_ids"][:, 0], True
    return replace(drawing(model, layout, len(tokens)), sampling=LIKELIEST, tokens=tokens, given=given)


def last(steps: Iterator[Progress]) -> Tensor:
    """The tokens at the end of a drawing."""
    return deque(steps, maxlen=1)[0].tokens


PROOF = Proof(stages, weights=lambda weights, tensors: weights | igpt_palette_stages.PROOF.weights({}, tensors))
