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
from kiloword.transformer.stream import Stream, at, visible

# Axes: b batch, t positions, a positions of the query index, n = a or t, c positions attended to, m positions of
# context, w width.


@dataclass(frozen=True)
class StackConfig:
    """Sizes of a stack and the parts of its blocks. `patterns` of sparse attention are cycled over the layers (none:
    all that the mask allows); `output_modulation` is the adaptive layer norm behind the last block."""

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
    """A pre-norm block: self-attention, cross-attention and feed-forward network, each with a residual connection."""

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
        query_index: Int[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b n w"]:
        """The output at the positions of `query_index` (None: all), which needs one `modulation` for all positions."""
        by = self.modulation(modulation)
        attended = self.attention(by.enter(0, self.attention_norm(x)), angles, mask, cache, layer, query_index)
        x = at(x, query_index) + by.leave(0, self.dropout(attended))
        x = self.cross_attention(x, context, context_mask, cache, layer)
        return x + by.leave(1, self.dropout(self.feed_forward(by.enter(1, self.feed_forward_norm(x)))))


class Stack(nn.Module):
    """The transformer: a stream of embedded positions in, hidden vectors behind a last norm out."""

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
        """Normal weights of standard deviation 1/sqrt(inputs), outputs scaled down by depth (Radford et al. 2019,
        GPT-2)."""
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
        """Whether its blocks have cross-attention."""
        return self.config.cross_attention is not None

    @property
    def modulated(self) -> bool:
        """Whether its blocks, or its output, have adaptive layer norm."""
        parts = (self.config.modulation, self.config.output_modulation)
        return not all(isinstance(part, UnmodulatedConfig) for part in parts)

    def cache(self, batch: int, capacity: int) -> KeyValueCache:
        """An empty key-value cache for this stack: `batch` sequences of at most `capacity` positions each."""
        attention = self.config.attention
        heads, head_dim = attention.key_heads or attention.heads, attention.head_dim or self.width // attention.heads
        return KeyValueCache(self.config.depth, batch, capacity, heads, head_dim).to(next(self.parameters()))

    def _masks(self, stream: Stream, cache: Cache | None) -> Sequence[Bool[Tensor, "b t c"] | None]:
        """The attention mask of each layer. Only patterns need the coordinates of cached positions."""
        mask, patterns, depth = visible(stream), self.config.patterns, self.config.depth
        if cache is not None:
            mask = cache.mask(mask, stream.vectors.shape[1])
        if not patterns:
            return [mask] * depth
        keys = stream.positions if cache is None else cache.append_positions(stream.positions)
        return masks_by_layer(patterns, depth, mask, stream.positions, keys)

    def forward(self, stream: Stream, cache: Cache | None = None) -> Float[Tensor, "b n w"]:
        """The hidden vectors at the stream's `query_index`, or at all positions.

        With a cache, positions also attend to all that it holds; call `cache.advance` afterwards to keep some of the
        new ones. Raises ValueError for a context that no block attends to, or a missing modulation vector.
        """
        masks = self._masks(stream, cache)
        angles = self.rotary.angles(stream.positions) if self.rotary else None
        context, hidden_guidance = stream.context, stream.hidden_guidance
        if context is not None and not self.cross_attends:
            raise ValueError("the prompt has a context, and this transformer attends to none")
        topic = stream.sample if stream.topic is None else stream.topic
        context_mask = None if context is None else context.mask(topic)
        combined_at = None if hidden_guidance is None else hidden_guidance.block_of(self.config.depth)
        x, modulation = stream.vectors, self.shared_modulation(stream.modulation)
        prunable = context is None and hidden_guidance is None and (modulation is None or modulation.shape[1] == 1)
        query_index = stream.query_index if prunable else None  # in the last block; else at the end
        for layer, block in enumerate(self.blocks):
            last = layer == len(self.blocks) - 1
            index = query_index if last else None
            x = block(x, angles, masks[layer], modulation, cache, layer, context, context_mask, index)
            if hidden_guidance is not None and layer == combined_at:
                x = hidden_guidance.combined(x)
        hidden = self.output_modulation(stream.modulation).enter(0, self.norm(x))
        return hidden if prunable else at(hidden, stream.query_index)
