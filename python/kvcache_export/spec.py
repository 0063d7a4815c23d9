"""What a decoder-only transformer is: the one description that all else derives from.

A family's file makes it of a checkpoint's config, config.json carries it as `spec`, the graph is
built of it, and the library reads it. It knows no family and no ONNX.

One layer computes, with x [batch, seq_len, hidden_size]:

    x = x + output(attention(qkv(norm(x)))),    x = x + down(activation(up(norm(x))))

With a post_norm, what is added to x is normed first.
"""

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]

NORMS = ("layer_norm", "rms_norm")
POSITIONS = ("learned", "none")
SCALINGS = ("linear", "llama3", "yarn", "longrope")
ACTIVATIONS = (
    *("gelu_tanh", "gelu_erf", "gelu_clipped", "quick_gelu", "relu", "relu_squared", "relu6"),
    *("leaky_relu", "silu", "hard_swish", "mish", "laplace", "sqrt_softplus", "sigmoid", "tanh"),
    "identity",
)


@dataclass(frozen=True)
class Norm:
    """Of the last axis: layer_norm takes the mean away, rms_norm only divides."""

    kind: str  # of NORMS
    epsilon: float  # added to the variance, or to the mean square
    bias: bool = False


@dataclass(frozen=True)
class RotaryScaling:
    """How the frequencies of a rotary embedding differ from its base's (nodes/rotary.py).

    `original_positions` are those that the model was trained with first. Each kind has the fields
    that it needs: linear `factor`; llama3 `factor`, `low` and `high` (its low_freq_factor and
    high_freq_factor); yarn `factor`, `low` and `high` (beta_slow and beta_fast) and `truncate`;
    longrope `divisors`, one for each pair.
    """

    kind: str  # of SCALINGS
    factor: float = 1.0
    original_positions: int | None = None
    low: float = 1.0
    high: float = 1.0
    truncate: bool = True
    divisors: tuple[float, ...] = ()
    magnitude: float = 1.0  # what the turned queries and keys are multiplied by


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding of the first `dims` elements of every query and key.

    Pair i turns by position * base ** (-2 i / dims), or as `scaling` has it. It is the elements
    2 i and 2 i + 1 where `interleaved`, else i and dims / 2 + i.
    """

    dims: int
    base: float
    interleaved: bool = False
    scaling: RotaryScaling | None = None


@dataclass(frozen=True)
class AttentionBias:
    qkv: bool
    output: bool


@dataclass(frozen=True)
class Attention:
    """`num_heads` queries a token; each num_heads / num_kv_heads of them share a key and value."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float  # what the scores q·k are multiplied by
    bias: AttentionBias
    rotary: Rotary | None = None
    window: int | None = None  # tokens that a token attends to, itself included; None: all
    soft_cap: float | None = None  # scores become soft_cap * tanh(scores / soft_cap)
    qk_norm: Norm | None = None  # of each query and key [head_dim], before rotary


@dataclass(frozen=True)
class MlpBias:
    up: bool
    down: bool


@dataclass(frozen=True)
class Mlp:
    """activation(x · up) or, where it is `gated`, activation(x · gate) * (x · up)."""

    inner_size: int
    activation: str  # of ACTIVATIONS
    gated: bool
    bias: MlpBias


@dataclass(frozen=True)
class LayerSpec:
    norm: Norm  # of both norms: before the attention and before the MLP
    attention: Attention
    mlp: Mlp
    post_norm: Norm | None = None  # of both: behind the attention's output and behind the MLP


@dataclass(frozen=True)
class Embedding:
    """scale * tokens[input_ids], + positions[position_ids] where those are learned."""

    scale: float = 1.0
    positions: str = "none"  # of POSITIONS


@dataclass(frozen=True)
class Head:
    tied: bool  # to the token embedding
    soft_cap: float | None = None  # logits become soft_cap * tanh(logits / soft_cap)


@dataclass(frozen=True)
class ValueHead:
    """A number for each token whose logits are asked for, of the final norm's output h.

    h = activation(norm(h · weight + bias)) for each of `inner_sizes`, then
    value = output_activation(h · weight + bias).
    """

    inner_sizes: tuple[int, ...]
    norm: Norm | None  # None: the products are not normed
    activation: str  # of ACTIVATIONS
    output_activation: str  # of ACTIVATIONS


class Layout(enum.Enum):
    """How a matrix lies in the file (docs/MODEL_FILE.md)."""

    ROWS = "rows"  # a row an output, as an embedding's tables have it
    PANELS = "panels"
    ALTERNATING_PANELS = "alternating panels"  # two matrices, a panel of each in turn


@dataclass(frozen=True)
class Matrix:
    """`parts` are the outputs of the matrices that stand side by side: q, k, v, or gate and up."""

    inputs: int
    parts: tuple[int, ...]
    layout: Layout

    @property
    def outputs(self) -> int:
        return sum(self.parts)

    @property
    def shape(self) -> Shape:
        """As a parameter: [outputs, inputs] of a table, else [inputs, outputs]."""
        by_rows = self.layout is Layout.ROWS
        return (self.outputs, self.inputs) if by_rows else (self.inputs, self.outputs)


@dataclass(frozen=True)
class DecoderSpec:
    """A whole model. Raises ExportError where a value, or two together, have no meaning."""

    hidden_size: int
    vocab_size: int
    max_seq_len: int
    embedding: Embedding
    layers: tuple[LayerSpec, ...]
    final_norm: Norm
    head: Head
    value_head: ValueHead | None = None

    def __post_init__(self) -> None:
        from .spec_check import check  # it imports this module

        check(self)

    def to_json(self) -> dict[str, Any]:
        """The field `spec` of config.json."""
        fields = dataclasses.asdict(self)
        fields["layers"] = list(fields["layers"])
        if self.value_head is not None:
            fields["value_head"]["inner_sizes"] = list(self.value_head.inner_sizes)
        return fields

    def named_layers(self) -> list[tuple[str, LayerSpec]]:
        return [(f"layers.{i}", layer) for i, layer in enumerate(self.layers)]

    def matrices(self) -> dict[str, Matrix]:
        """What decoding multiplies by or takes rows of, by the names of their roles."""
        return {role: of for role, of, _ in self._roles() if isinstance(of, Matrix)}

    def parameters(self) -> dict[str, Shape]:
        """The shape of every parameter, in the order in which a token meets them."""
        found = {}
        for role, of, bias in self._roles():
            shape = of.shape if isinstance(of, Matrix) else of
            found[f"{role}.weight"] = shape
            if bias:
                found[f"{role}.bias"] = (of.outputs if isinstance(of, Matrix) else shape[0],)
        return found

    def _roles(self) -> Iterator[tuple[str, Matrix | Shape, bool]]:
        """Each role, the matrix or the shape of its weight, and whether it has a bias."""
        hidden, vocabulary = self.hidden_size, (self.vocab_size,)
        yield "embedding.tokens", Matrix(hidden, vocabulary, Layout.ROWS), False
        if self.embedding.positions == "learned":
            yield "embedding.positions", (self.max_seq_len, hidden), False
        for name, layer in self.named_layers():
            attention, mlp = layer.attention, layer.mlp
            queries, keys = (
                heads * attention.head_dim
                for heads in (attention.num_heads, attention.num_kv_heads)
            )
            inner, of_up = (mlp.inner_size,), Layout.PANELS
            if mlp.gated:
                inner, of_up = inner * 2, Layout.ALTERNATING_PANELS
            yield f"{name}.attention.norm", (hidden,), layer.norm.bias
            qkv = Matrix(hidden, (queries, keys, keys), Layout.PANELS)
            yield f"{name}.attention.qkv", qkv, attention.bias.qkv
            if attention.qk_norm is not None:
                yield f"{name}.attention.q_norm", (attention.head_dim,), False
                yield f"{name}.attention.k_norm", (attention.head_dim,), False
            output = Matrix(queries, (hidden,), Layout.PANELS)
            yield f"{name}.attention.output", output, attention.bias.output
            if layer.post_norm is not None:
                yield f"{name}.attention.post_norm", (hidden,), False
            yield f"{name}.mlp.norm", (hidden,), layer.norm.bias
            yield f"{name}.mlp.up", Matrix(hidden, inner, of_up), mlp.bias.up
            yield f"{name}.mlp.down", Matrix(inner[0], (hidden,), Layout.PANELS), mlp.bias.down
            if layer.post_norm is not None:
                yield f"{name}.mlp.post_norm", (hidden,), False
        yield "final_norm", (hidden,), self.final_norm.bias
        if not self.head.tied:
            yield "head", Matrix(hidden, vocabulary, Layout.ROWS), False
        if self.value_head is not None:
            yield from self._value_head_roles(self.value_head)

    def _value_head_roles(self, of: ValueHead) -> Iterator[tuple[str, Shape, bool]]:
        """Its weights are [outputs, inputs]: too small to be worth a narrower type."""
        inputs = self.hidden_size
        for i, outputs in enumerate(of.inner_sizes):
            yield f"value_head.{i}", (outputs, inputs), True
            if of.norm is not None:
                yield f"value_head.{i}.norm", (outputs,), of.norm.bias
            inputs = outputs
        yield "value_head.output", (1, inputs), True
