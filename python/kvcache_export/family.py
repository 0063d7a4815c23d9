"""A family of models: what its one file in families/ says of it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import value_heads
from .spec import DecoderSpec

NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Config:
    """What a family makes of a checkpoint's config.json."""

    spec: DecoderSpec
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]  # every one that ends a text, the usual one first
    # The standard deviation of a parameter's random values, by its name; biases are 0, norms 1.
    deviation: Callable[[str], float] = field(compare=False)
    pad_token_id: int | None = None


@dataclass(frozen=True)
class Family:
    """`modules` says where a checkpoint has each parameter, by the name of its role.

    `{}` stands for the layer's number; `.weight` and `.bias` are the same on both sides. Several
    names are joined along the outputs, in their order: q, k and v; or gate and up.
    """

    model_type: str  # of the config, and of ours
    model_file: str  # the graph's name
    architectures: tuple[str, ...]  # Hugging Face's classes that are this, with a head for text
    parse: Callable[[Mapping[str, Any]], Config]
    modules: Mapping[str, str | tuple[str, ...]]
    inputs_first: bool  # whether a checkpoint's matrices are [inputs, outputs]; tables never are
    prefix: str = ""  # of names, which a model saved without its head lacks
    harmless: re.Pattern[str] = NOTHING  # names of tensors that bear on no logit
    norm_offset: float = 0.0  # of every norm's weight, to what a checkpoint stores
    own_fields: frozenset[str] = frozenset()  # of a config, that no other family spells so
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # published sizes

    @property
    def bare_parts(self) -> set[str]:
        """What names begin with where they lack the prefix."""
        names = {name for role in self.modules for name in self.names(role)}
        bare = (name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix))
        return {name.partition(".")[0] for name in bare}

    @property
    def first_parts(self) -> set[str]:
        """What names begin with."""
        names = {name for role in self.modules for name in self.names(role)}
        return {name.partition(".")[0] for name in names}

    def names(self, role: str) -> tuple[str, ...]:
        """The checkpoint's names of a role, one or those that it is joined of."""
        if role in value_heads.MODULES:
            return (value_heads.MODULES[role],)
        number = "".join(re.findall(r"^layers\.(\d+)", role))
        names = self.modules[re.sub(r"^layers\.\d+", "layers.{}", role)]
        return tuple(n.format(number) for n in ((names,) if isinstance(names, str) else names))

    def tensors(self, parameter: str) -> tuple[str, ...]:
        """The same of a parameter."""
        role, _, kind = parameter.rpartition(".")
        return tuple(f"{name}.{kind}" for name in self.names(role))
