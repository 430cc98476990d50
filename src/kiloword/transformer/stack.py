"""Stack: pre-norm transformer blocks assembled from small parts (Xiong et al. 2020; Touvron et al. 2023, Llama)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kiloword.transformer.attention import AttentionConfig
from kiloword.transformer.cache import Cache, KeyValueCache
from kiloword.transformer.cross_attention import Context, CrossAttentionConfig, NoCrossAttention
from kiloword.transformer.feed_forward import GeGLUConfig, GELUConfig, GemmaGLUConfig, SwiGLUConfig
from kiloword.transformer.modulation import AdaLNConfig, AdaLNOutputConfig, SharedAdaLNConfig, UnmodulatedConfig
from kiloword.transformer.norm import LayerNormConfig, RMSNormConfig
from kiloword.transformer.pattern import PatternConfig, masks_by_layer
from kiloword.transformer.position import MutedConfig, RotaryConfig, RoundedConfig, StretchedConfig
from kiloword.transformer.rows import Stream, at, visible

# Axes: b rows of the batch, t places in a row, a of them that are asked for, n = a or t, m rows of context, w width.


@dataclass(frozen=True)
class StackConfig:
    """The sizes of a stack and the parts of its blocks; `patterns` are cycled over the layers (none: all is seen)."""

    width: int
    depth: int
    attention: AttentionConfig
    feed_forward: SwiGLUConfig | GeGLUConfig | GemmaGLUConfig | GELUConfig
    norm: RMSNormConfig | LayerNormConfig = RMSNormConfig()
    position: RotaryConfig | MutedConfig | RoundedConfig | StretchedConfig | None = None
    modulation: UnmodulatedConfig | AdaLNConfig | SharedAdaLNConfig = UnmodulatedConfig()
    dropout: float = 0.0
    output_modulation: UnmodulatedConfig | AdaLNOutputConfig = UnmodulatedConfig()
    patterns: tuple[PatternConfig, ...] = ()
    cross_attention: CrossAttentionConfig | None = None  # None: no context

    def __post_init__(self):
        object.__setattr__(self, "patterns", tuple(self.patterns))
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"a stack needs width and depth of at least 1, got {self.width} and {self.depth}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def build(self) -> "Stack":
        return Stack(self)


class Block(nn.Module):
    """Attention and feed-forward network, each normed before and added after."""

    def __init__(self, config: StackConfig):
        super().__init__()
        self.attention_norm = config.norm.build(config.width)
        self.attention = config.attention.build(config.width)
        across = config.cross_attention
        self.cross_attention = across.build(config.width) if across else NoCrossAttention()
        self.feed_forward_norm = config.norm.build(config.width)
        self.feed_forward = config.feed_forward.build(config.width)
        self.modulation = config.modulation.build(config.width)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "b t w"],
        angles: tuple[Tensor, Tensor] | None,
        mask: Bool[Tensor, "b t c"] | None,
        modulation: Tensor | None,
        cache: Cache | None = None,
        layer: int = 0,
        context: Context | None = None,
        context_mask: Bool[Tensor, "b #t m"] | None = None,
        asked: Int[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        """The rows `asked` for alone, where all rows are told the same."""
        by = self.modulation(modulation)
        mixed = self.attention(by.enter(0, self.attention_norm(x)), angles, mask, cache, layer, asked)
        x = self.cross_attention(at(x, asked) + by.leave(0, self.dropout(mixed)), context, context_mask, cache, layer)
        thought = self.feed_forward(by.enter(1, self.feed_forward_norm(x)))
        return x + by.leave(1, self.dropout(thought))


class Stack(nn.Module):
    """The transformer: vectors and positions in, hidden vectors out, normed at the end."""

    causal = True

    def __init__(self, config: StackConfig):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = config.norm.build(config.width)
        self.shared_modulation = config.modulation.shared(config.width)
        self.output_modulation = config.output_modulation.build(config.width)
        head_dim = config.attention.head_dim or config.width // config.attention.heads
        self.rotary = config.position.build(head_dim) if config.position else None
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights of deviation 1/sqrt(input), outputs scaled down by depth (Radford et al. 2019, GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim != 2 or "modulation" in name:
                continue
            deviation = parameter.shape[1] ** -0.5
            if name.endswith("out.weight"):
                deviation /= math.sqrt(2 * self.config.depth)
            nn.init.normal_(parameter, std=deviation)

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def cross_attends(self) -> bool:
        """Whether its blocks attend to a context."""
        return self.config.cross_attention is not None

    @property
    def modulated(self) -> bool:
        """Whether its blocks, or its output, are modulated."""
        parts = (self.config.modulation, self.config.output_modulation)
        return not all(isinstance(part, UnmodulatedConfig) for part in parts)

    def cache(self, rows: int, capacity: int) -> KeyValueCache:
        """An empty cache for this stack with room for `capacity` places in each of `rows` rows."""
        attention = self.config.attention
        heads, head_dim = attention.key_heads or attention.heads, attention.head_dim or self.width // attention.heads
        return KeyValueCache(self.config.depth, rows, capacity, heads, head_dim).to(next(self.parameters()))

    def _masks(self, stream: Stream, cache: Cache | None) -> Sequence[Bool[Tensor, "b t c"] | None]:
        """Of each layer. Where rows sit is kept in a cache only for the sake of patterns."""
        mask, patterns, depth = visible(stream), self.config.patterns, self.config.depth
        if cache is not None:
            mask = cache.mask(mask, stream.vectors.shape[1])
        if not patterns:
            return [mask] * depth
        seen = stream.positions if cache is None else cache.place(stream.positions)
        return masks_by_layer(patterns, depth, mask, stream.positions, seen)

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b n w"]:
        """The hidden vector of every row that is asked for. With a cache, rows also attend to all that it holds; call
        `cache.advance` afterwards to keep some of the new rows."""
        masks = self._masks(stream, cache)
        angles = self.rotary.angles(stream.positions) if self.rotary else None
        context, hidden_guidance = stream.context, stream.hidden_guidance
        if context is not None and not self.cross_attends:
            raise ValueError("the prompt has a context, and this transformer attends to none")
        context_mask = None if context is None else context.mask(stream.sample)
        blended = None if hidden_guidance is None else hidden_guidance.place(self.config.depth)
        x, modulation = stream.vectors, self.shared_modulation(stream.modulation)
        alike = context is None and hidden_guidance is None and (modulation is None or modulation.shape[1] == 1)
        asked = stream.asked if alike else None  # in the last block; else at the end
        for layer, block in enumerate(self.blocks):
            last = layer == len(self.blocks) - 1
            x = block(x, angles, masks[layer], modulation, cache, layer, context, context_mask, asked if last else None)
            if hidden_guidance is not None and layer == blended:
                x = hidden_guidance.of(x)
        hidden = self.output_modulation(stream.modulation).enter(0, self.norm(x))
        return hidden if alike else at(hidden, stream.asked)
