"""A decoder's arithmetic: its shape, the parameters, bytes and operations that follow from it.

Sources of the counts: Kipply, 'Transformer inference arithmetic', 2022,
https://kipp.ly/transformer-inference-arithmetic/, and Pope et al., 'Efficiently scaling
transformer inference', 2022, arXiv:2211.05102.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nbkit.errors import InputError, shorten
from nbkit.models.memory import item_bytes, kv_bytes_per_position


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a Llama-like decoder: gated MLP, RMSNorm, no biases, grouped-query attention.

    ``kv_heads`` share the ``heads`` among them. ``is_tied`` says that the output head is
    the input embedding, one table for both. ``context_length`` is how many tokens a text may have,
    prompt and output together; None where the config does not tell.
    """

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    is_tied: bool
    context_length: int | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The shape that a transformers ``config.json`` describes.

        ``num_key_value_heads`` and ``head_dim`` may be missing, as in configs older than
        they are: as many as heads, and ``hidden_size / num_attention_heads``. Without
        ``tie_word_embeddings`` nothing is tied, as in Llama.

        Raises
        ------
        InputError
            A key is missing or no whole number of at least 1, or the model is a mixture of experts.
        """
        for key in ("num_local_experts", "num_experts", "n_routed_experts"):
            if config.get(key):
                raise InputError(
                    f"the config has {key}={shorten(config[key])}: a mixture of experts reads other weights for "
                    "each token, which the roofline does not know; take a dense model."
                )
        heads, hidden_size = _size(config, "num_attention_heads"), _size(config, "hidden_size")
        return cls(
            layers=_size(config, "num_hidden_layers"),
            hidden_size=hidden_size,
            heads=heads,
            kv_heads=_size(config, "num_key_value_heads", heads),
            head_dim=_size(config, "head_dim", hidden_size // heads),
            intermediate_size=_size(config, "intermediate_size"),
            vocab_size=_size(config, "vocab_size"),
            is_tied=bool(config.get("tie_word_embeddings", False)),
            context_length=_size(config, "max_position_embeddings")
            if config.get("max_position_embeddings") is not None
            else None,
        )

    @property
    def table_parameters(self) -> int:
        """Parameters of the embedding table; those of the output head are as many."""
        return self.vocab_size * self.hidden_size

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers' matrices: attention projections (q, o; k, v) and MLP (gate, up, down)."""
        attention = 2 * self.hidden_size * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def matmul_parameters(self) -> int:
        """Parameters that a token is multiplied with: the layers' matrices and the output head.

        The input embedding is looked up, not multiplied.
        """
        return self.layer_parameters + self.table_parameters

    @property
    def parameters(self) -> int:
        """All parameters, the norms' included; a tied table counts once."""
        norms = (2 * self.layers + 1) * self.hidden_size
        return self.layer_parameters + norms + self.table_parameters * (1 if self.is_tied else 2)

    def weight_bytes(self, dtype: str) -> int:
        """Bytes of weights that a decode step reads: all but the input embedding, of which it needs some rows.

        Raises
        ------
        InputError
            The dtype is none of ``nbkit.models.memory.ITEM_BYTES``.
        """
        looked_up = 0 if self.is_tied else self.table_parameters
        return (self.parameters - looked_up) * item_bytes(dtype)

    def kv_bytes_per_position(self, dtype: str) -> int:
        """Bytes of keys and values that one position of one sequence has in the cache."""
        return kv_bytes_per_position(self.layers, self.kv_heads * self.head_dim, dtype)

    def flops_per_token(self, context: float) -> float:
        """Floating-point operations for one new token that attends to ``context`` positions.

        2 for each parameter in a matrix product; 4 for each position, head and its
        dimensions: 2 for query x key, 2 for weight x value.
        """
        return 2 * self.matmul_parameters + 4 * self.layers * self.heads * self.head_dim * context


LLAMA_2_7B = ModelShape(
    layers=32,
    hidden_size=4096,
    heads=32,
    kv_heads=32,
    head_dim=128,
    intermediate_size=11008,
    vocab_size=32000,
    is_tied=False,
    context_length=4096,
)


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise InputError(
            f"the config has no {key}: it is not that of a Llama-like decoder, the only kind whose roofline is known."
        )
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{key} in the config must be a whole number of at least 1, not {shorten(value)}.")
    return value
