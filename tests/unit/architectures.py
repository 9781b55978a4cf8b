"""Tiny random models of many architectures, built offline from their configs.

What an engine does to a model (padding, masks, positions, caches) is right for one family
and wrong for another, so most families of decoder-only models that transformers has are here:
two to four layers of a hidden size of 32, one token a letter, weights so large that a
token which is seen and should not be, or not seen and should be, changes the text.

Not here, since they say nothing new, or plain ``generate`` does not run them offline on a CPU:

* encoders used as decoders (BERT, RoBERTa, ELECTRA, ...) and the decoder halves of models for
  translation other than Blenderbot's (BART, Marian, Pegasus, ...): none is made to be prompted;
* models of images or sounds, and texts that are part of one (Mllama, Moshi, MusicGen, Whisper, ...);
* XLNet, XLM and Reformer, whose ``generate`` adds tokens of its own or needs lengths that divide;
* BLT, which reads bytes and groups them with a second model;
* drafts and diffusion models, which do not write a text alone (Gemma 4's assistants, ...);
* another attention implementation: it is no part of a saved config but of how a model is loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

WORDS = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz .,'"])}
EOS = PAD = 2
IDS: dict[str, Any] = {"vocab_size": len(WORDS), "bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": PAD}
PROMPTS = [
    "hello there my friend",
    "a",
    "the cat sat on the mat, and then it went away to the hills.",
    "it's",
    "we saw two old ships, far from here",
]
"""Lengths of 21, 1, 59, 4 and 35: windows of 8 and 16 and lengths of 24 and 32 lie between them."""

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
_FULL_HEADS = {**SMALL, "num_key_value_heads": 4}
_GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3}
_MIXED_LAYERS = ["sliding_attention", "full_attention"]
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
_MAMBA: dict[str, Any] = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "expand": 2}
_MAMBA2_IN_HYBRIDS: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_expand": 2,
}


@dataclass(frozen=True)
class Architecture:
    """One tiny model: the names of its classes, its config's settings, and what is special."""

    name: str
    family: str
    """What its config's class is called before ``Config``, and its model's before ``ForCausalLM``."""
    settings: Mapping[str, Any]
    notes: str
    model_class: str = ""
    """Where it is not ``<family>ForCausalLM``."""
    config_class: str = ""
    """Where it is not ``<family>Config``."""
    seed: int = 1
    """Other than 1 where two tokens were about as likely, or most texts one letter again and again."""
    scale: float = 0.3
    """The standard deviation of its matrices."""
    reach: int | None = None
    """How many tokens the last one sees, with all layers' windows taken together; ``None``: all."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations of the matrices whose name has this in it."""
    pads: bool = True
    """Whether transformers' ``generate`` gives left-padded prompts in one batch the texts they have alone."""
    batches: bool = True
    """Whether it gives prompts of one length in one batch the texts they have alone."""

    @property
    def is_known(self) -> bool:
        """Whether the installed transformers has it."""
        import transformers

        return hasattr(transformers, self.config_class or f"{self.family}Config")

    def make(self) -> tuple[type[PreTrainedModel], PretrainedConfig]:
        """The model's class and the config, imported when asked for."""
        import transformers

        config_class = getattr(transformers, self.config_class or f"{self.family}Config")
        model_class = getattr(transformers, self.model_class or f"{self.family}ForCausalLM")
        return model_class, config_class(**{**IDS, **copy.deepcopy(dict(self.settings))})


ARCHITECTURES = [
    Architecture("llama", "Llama", SMALL, "the plain case"),
    Architecture("llama, tied", "Llama", {**SMALL, "tie_word_embeddings": True}, "the head is the embedding"),
    Architecture(
        "llama, biases", "Llama", {**SMALL, "attention_bias": True, "mlp_bias": True}, "biases on attention and MLP"
    ),
    Architecture(
        "llama, dynamic NTK",
        "Llama",
        {
            **SMALL,
            "max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
        },
        "frequencies change beyond 32 tokens, for the whole batch, and stay changed in the module",
        seed=3,
        pads=False,
    ),
    Architecture(
        "llama, yarn",
        "Llama",
        {
            **SMALL,
            "max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 32,
            },
        },
        "frequencies and attention scaled once for all lengths",
        seed=3,
    ),
    Architecture(
        "llama, llama3 rope",
        "Llama",
        {
            **SMALL,
            "rope_parameters": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 32,
            },
        },
        "Llama 3.1's frequencies",
        seed=2,
    ),
    Architecture(
        "mistral, window 16", "Mistral", {**SMALL, "sliding_window": 16}, "all layers slide", reach=24, seed=3
    ),
    Architecture("mistral, no window", "Mistral", {**SMALL, "sliding_window": None}, "as Mistral 7B v0.3"),
    Architecture(
        "ministral, mixed layers",
        "Ministral",
        {**SMALL, "head_dim": 8, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "one layer slides, one sees all",
        seed=3,
    ),
    Architecture(
        "mixtral",
        "Mixtral",
        {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
        "mixture of experts",
    ),
    Architecture("qwen2", "Qwen2", {**SMALL, "sliding_window": 8}, "biases on q, k, v; a window that is off"),
    Architecture(
        "qwen2, window above layer 1",
        "Qwen2",
        {**SMALL, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        "the first layer sees all, the second slides",
        seed=3,
    ),
    Architecture(
        "qwen2_moe, window off",
        "Qwen2Moe",
        {
            **SMALL,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "use_sliding_window": False,
            "sliding_window": 32768,
        },
        "its config turns a window that is off into 0",
        seed=3,
    ),
    Architecture("qwen3", "Qwen3", {**SMALL, "head_dim": 8}, "norms on q and k", seed=2),
    Architecture(
        "qwen3_moe",
        "Qwen3Moe",
        {**SMALL, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        "mixture of experts, norms on q and k",
    ),
    Architecture(
        "qwen3_next",
        "Qwen3Next",
        {
            **SMALL,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "a layer of gated delta rule (a state) and a layer of attention with a gate",
        scales={"self_attn": 0.5},
        seed=6,
    ),
    Architecture("phi", "Phi", _FULL_HEADS, "parallel residual, half-rotary, biases", seed=3),
    Architecture("phi3", "Phi3", {**SMALL, "sliding_window": None}, "one matrix for q, k and v"),
    Architecture("phi3, window 16", "Phi3", {**SMALL, "sliding_window": 16}, "all layers slide", reach=24),
    Architecture(
        "phi3, longrope",
        "Phi3",
        {
            **SMALL,
            "sliding_window": None,
            "original_max_position_embeddings": 24,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [2.0, 3.0, 4.0, 5.0],
                "original_max_position_embeddings": 24,
            },
        },
        "other frequencies, for the whole batch, as soon as one position is beyond 24; "
        "generate drops the cache where a text crosses it",
        pads=False,
    ),
    Architecture(
        "phimoe",
        "Phimoe",
        {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
        "a router of its own (sparsemixer)",
        seed=3,
    ),
    Architecture("gemma", "Gemma", {**SMALL, "head_dim": 8}, "embeddings scaled, norms around 1 + weight", seed=4),
    Architecture(
        "gemma2, window 8",
        "Gemma2",
        {**SMALL, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8},
        "caps on attention and logits, every other layer slides",
        scales={"embed": 0.03},
    ),
    Architecture(
        "gemma3_text, window 8",
        "Gemma3",
        {**SMALL, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "two rotary bases, every other layer slides",
        config_class="Gemma3TextConfig",
        scales={"embed": 0.03},
        seed=4,
    ),
    Architecture(
        "gemma3n_text, window 8",
        "Gemma3n",
        {
            **SMALL,
            "num_hidden_layers": 4,
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": [*_MIXED_LAYERS, *_MIXED_LAYERS],
            "vocab_size_per_layer_input": len(WORDS),
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 8,
            "altup_num_inputs": 2,
            "num_kv_shared_layers": 2,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        },
        "layers that share others' keys and values, embeddings a layer",
        config_class="Gemma3nTextConfig",
        scales={"embed": 0.1},
        seed=7,
    ),
    Architecture(
        "gemma4_text, window 8",
        "Gemma4",
        {
            **SMALL,
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
            "vocab_size_per_layer_input": len(WORDS),
            "hidden_size_per_layer_input": 8,
        },
        "heads of other sizes in the layer that sees all",
        config_class="Gemma4TextConfig",
        scales={"embed": 0.1},
        seed=7,
    ),
    Architecture(
        "vaultgemma, window 8",
        "VaultGemma",
        {**SMALL, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "Gemma 2 without the second norms",
        seed=4,
    ),
    Architecture(
        "gpt_oss, window 8",
        "GptOss",
        {**SMALL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
        "attention sinks (no fused kernel), every other layer slides",
        seed=3,
    ),
    Architecture(
        "gpt_oss, window 64",
        "GptOss",
        {**SMALL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
        "attention sinks, a window longer than most prompts",
        seed=2,
    ),
    Architecture("gpt2", "GPT2", _GPT, "learned positions", model_class="GPT2LMHeadModel", seed=3),
    Architecture("gpt_bigcode", "GPTBigCode", _GPT, "one head of keys and values, learned positions"),
    Architecture(
        "gpt_neo, window 8",
        "GPTNeo",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "max_position_embeddings": 256,
            "window_size": 8,
            "attention_types": [[["global", "local"], 1]],
            "initializer_range": 0.3,
        },
        "no scale on attention, the second layer local by a buffer of its own",
    ),
    Architecture("gpt_neox", "GPTNeoX", _FULL_HEADS, "Pythia: parallel residual, quarter-rotary", seed=2),
    Architecture(
        "gpt_neox_japanese", "GPTNeoXJapanese", _FULL_HEADS, "a bias on the last layer's attention only", seed=3
    ),
    Architecture("gptj", "GPTJ", {**_GPT, "rotary_dim": 4}, "rotary of interleaved pairs", seed=4),
    Architecture("codegen", "CodeGen", {**_GPT, "n_ctx": 256, "rotary_dim": 4}, "q, k, v in blocks of four", seed=6),
    Architecture(
        "opt",
        "OPT",
        {
            "hidden_size": 32,
            "ffn_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 32,
            "init_std": 0.3,
        },
        "learned positions counted from the mask",
        seed=3,
    ),
    Architecture(
        "bloom",
        "Bloom",
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
        "alibi built from the mask",
        seed=12,
    ),
    Architecture(
        "falcon, rotary",
        "Falcon",
        {**_FULL_HEADS, "multi_query": True, "parallel_attn": True, "alibi": False},
        "as Falcon 7B: one head of keys and values",
        seed=2,
    ),
    Architecture(
        "falcon, alibi",
        "Falcon",
        {**_FULL_HEADS, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
        "as Falcon RW: alibi built from the mask",
        scales={"embed": 0.05},
    ),
    Architecture(
        "falcon, new decoder",
        "Falcon",
        {**_FULL_HEADS, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False},
        "as Falcon 40B: grouped heads, two norms",
    ),
    Architecture(
        "mpt",
        "Mpt",
        {
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "expansion_ratio": 2,
            "max_seq_len": 256,
            "use_cache": True,
            "initializer_range": 0.3,
        },
        "alibi from the end of the keys",
        seed=5,
    ),
    Architecture("starcoder2, window 16", "Starcoder2", {**SMALL, "sliding_window": 16}, "all slide", reach=24),
    Architecture("stablelm", "StableLm", {**_FULL_HEADS, "use_qkv_bias": True}, "quarter-rotary, LayerNorm", seed=4),
    Architecture("olmo", "Olmo", SMALL, "norms without weights"),
    Architecture("olmo2", "Olmo2", SMALL, "norms after, and on all of q and k", seed=4),
    Architecture(
        "olmo3, window 8", "Olmo3", {**SMALL, "sliding_window": 8, "layer_types": _MIXED_LAYERS}, "one layer slides"
    ),
    Architecture(
        "olmoe",
        "Olmoe",
        {**SMALL, "num_experts": 4, "num_experts_per_tok": 2},
        "mixture of experts, norms on q, k",
        seed=2,
    ),
    Architecture("cohere", "Cohere", {**SMALL, "logit_scale": 1.0}, "parallel residual, logits scaled"),
    Architecture(
        "cohere2, window 8",
        "Cohere2",
        {**SMALL, "logit_scale": 1.0, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "the layer that sees all has no positions",
        seed=3,
    ),
    Architecture(
        "granite",
        "Granite",
        {**SMALL, "embedding_multiplier": 2.0, "residual_multiplier": 0.8, "attention_multiplier": 0.3},
        "multipliers",
    ),
    Architecture(
        "granitemoe", "GraniteMoe", {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2}, "mixture of experts"
    ),
    Architecture(
        "granitemoehybrid",
        "GraniteMoeHybrid",
        {
            **SMALL,
            **_MAMBA2_IN_HYBRIDS,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
            "layer_types": ["mamba", "attention"],
        },
        "a Mamba-2 layer and a layer of attention without positions",
        seed=5,
    ),
    Architecture(
        "smollm3",
        "SmolLM3",
        {**SMALL, "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1]},
        "a layer without positions",
        seed=2,
    ),
    Architecture(
        "deepseek_v2",
        "DeepseekV2",
        {
            **_FULL_HEADS,
            **_LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        },
        "latent attention: keys and values of unlike sizes, complex rotary",
    ),
    Architecture(
        "deepseek_v3",
        "DeepseekV3",
        {
            **_FULL_HEADS,
            **_LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
        },
        "latent attention, experts in groups",
    ),
    Architecture(
        "dots1",
        "Dots1",
        {
            **SMALL,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "sliding_window": None,
        },
        "dots.llm1: mixture of experts, norms on q and k",
    ),
    Architecture(
        "dots1, window 8 on the second layer",
        "Dots1",
        {
            **SMALL,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "sliding_window": 8,
            "max_window_layers": 1,
        },
        "the first layer sees all, the second slides",
    ),
    Architecture("glm", "Glm", {**SMALL, "head_dim": 8}, "half-rotary of interleaved pairs"),
    Architecture("glm4", "Glm4", {**SMALL, "head_dim": 8}, "GLM with norms after as well", seed=2),
    Architecture(
        "glm4_moe",
        "Glm4Moe",
        {
            **SMALL,
            "head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
        },
        "mixture of experts with a bias for choosing",
    ),
    Architecture("nemotron", "Nemotron", {**SMALL, "head_dim": 8}, "LayerNorm of 1 + weight, squared ReLU", seed=5),
    Architecture(
        "nemotron_h",
        "NemotronH",
        {
            **SMALL,
            "head_dim": 8,
            "num_hidden_layers": None,
            "layers_block_type": ["mamba", "mlp", "attention"],
            "ssm_state_size": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
        },
        "Mamba-2, MLP and attention as layers of their own",
        scales={"in_proj": 0.1},
    ),
    Architecture("persimmon", "Persimmon", _FULL_HEADS, "norms on q and k, one matrix for q, k and v", seed=4),
    Architecture(
        "hunyuan_v1_moe",
        "HunYuanMoEV1",
        {**SMALL, "head_dim": 8, "num_experts": 4, "moe_topk": 2},
        "the router reads its weight's dtype",
    ),
    Architecture("hunyuan_v1_dense", "HunYuanDenseV1", {**SMALL, "head_dim": 8}, "norms on q and k after rotary"),
    Architecture("ernie4_5", "Ernie4_5", {**SMALL, "head_dim": 8}, "rotary of interleaved pairs"),
    Architecture(
        "ernie4_5_moe",
        "Ernie4_5_Moe",
        {
            **SMALL,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_num_shared_experts": 1,
            "moe_intermediate_size": 32,
            "moe_layer_start_index": 1,
        },
        "mixture of experts",
        seed=2,
    ),
    Architecture(
        "minimax",
        "MiniMax",
        {
            **SMALL,
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "block_size": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "a layer of lightning attention (a state); being the first, its cache hides how long the text is from masks",
        seed=2,
        pads=False,
    ),
    Architecture(
        "minimax_m2",
        "MiniMaxM2",
        {**SMALL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
        "mixture of experts, norms on all of q and k",
        seed=2,
    ),
    Architecture(
        "rwkv",
        "Rwkv",
        {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "intermediate_size": 64}
        | {"context_length": 256},
        "a state and no mask; a step of more than one text mixes them up",
        seed=4,
        pads=False,
        batches=False,
    ),
    Architecture(
        "mamba",
        "Mamba",
        _MAMBA,
        "a state; the mask is used for the first step",
        scales={"x_proj": 0.6, "dt_proj": 0.2},
        seed=3,
    ),
    Architecture(
        "mamba2",
        "Mamba2",
        {**_MAMBA, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 16},
        "a state, worked through in chunks of 16",
        scales={"in_proj": 0.1, "conv1d": 3.0},
        seed=3,
    ),
    Architecture("falcon_mamba", "FalconMamba", _MAMBA, "Mamba with norms on B, C and the time step", seed=12),
    Architecture(
        "jamba",
        "Jamba",
        {
            **SMALL,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
        "Mamba and attention in turn, mixture of experts",
        seed=3,
    ),
    Architecture(
        "zamba",
        "Zamba",
        {
            **_FULL_HEADS,
            "attention_hidden_size": 64,
            "attention_head_dim": 16,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "hybrid"],
            "n_mamba_heads": 2,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
        "Mamba, and one block of attention that layers share",
        seed=4,
    ),
    Architecture(
        "zamba2",
        "Zamba2",
        {
            **_FULL_HEADS,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "hybrid"],
            "mamba_d_state": 8,
            "n_mamba_heads": 4,
            "mamba_headdim": 16,
            "chunk_size": 16,
            "adapter_rank": 8,
            "use_mem_rope": True,
        },
        "Mamba-2, and one block of attention that layers share",
    ),
    Architecture(
        "bamba",
        "Bamba",
        {**SMALL, **_MAMBA2_IN_HYBRIDS, "attn_layer_indices": [1], "mamba_chunk_size": 16},
        "a Mamba-2 layer and a layer of attention",
        seed=3,
    ),
    Architecture(
        "falcon_h1",
        "FalconH1",
        {**SMALL, **_MAMBA2_IN_HYBRIDS, "mamba_d_ssm": 64, "mamba_chunk_size": 16},
        "Mamba-2 and attention side by side in each layer",
        seed=2,
    ),
    Architecture(
        "recurrent_gemma, window 16",
        "RecurrentGemma",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "lru_width": 32,
            "attention_window_size": 16,
        },
        "a linear recurrence whose state stays in the module: a text of one token begins with the last one's",
        scales={"embed": 0.1, "v_proj": 0.9},
        seed=2,
        pads=False,
    ),
    Architecture(
        "lfm2",
        "Lfm2",
        {**SMALL, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        "a layer of short convolution and a layer of attention",
        scales={"embed": 0.1, "v_proj": 0.9},
    ),
    Architecture(
        "lfm2_moe",
        "Lfm2Moe",
        {
            **SMALL,
            "layer_types": ["conv", "full_attention"],
            "num_dense_layers": 1,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
        "LFM2 with a mixture of experts",
        scales={"embed": 0.1, "v_proj": 0.9},
        seed=5,
    ),
    Architecture(
        "xglm",
        "XGLM",
        {
            "d_model": 32,
            "ffn_dim": 64,
            "num_layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 256,
            "init_std": 0.3,
        },
        "sinusoids for positions",
        scales={"embed": 0.05, "self_attn": 0.5},
        seed=5,
    ),
    Architecture(
        "biogpt", "BioGpt", _FULL_HEADS, "learned positions counted from the mask", scales={"embed": 0.1}, seed=4
    ),
    Architecture(
        "blenderbot",
        "Blenderbot",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_ffn_dim": 64,
            "encoder_attention_heads": 4,
            "decoder_layers": 2,
            "decoder_ffn_dim": 64,
            "decoder_attention_heads": 4,
            "max_position_embeddings": 256,
            "init_std": 0.3,
        },
        "a decoder alone; positions counted from the cache, not the mask; its last token is forced to be the end",
        seed=4,
        pads=False,
    ),
    Architecture(
        "cpmant",
        "CpmAnt",
        {
            "hidden_size": 32,
            "num_attention_heads": 4,
            "dim_head": 8,
            "dim_ff": 64,
            "num_hidden_layers": 2,
            "prompt_types": 4,
            "prompt_length": 4,
            "segment_types": 4,
            "position_bias_num_buckets": 32,
            "position_bias_max_distance": 64,
            "init_std": 0.3,
        },
        "a prompt of its own before every text; no mask, lengths counted from ids that are not 0",
        seed=3,
        pads=False,
    ),
    Architecture(
        "ctrl",
        "CTRL",
        {**_GPT, "dff": 64},
        "sinusoids for positions",
        model_class="CTRLLMHeadModel",
        scales={".w.": 0.05},
        seed=7,
    ),
    Architecture(
        "openai-gpt", "OpenAIGPT", _GPT, "the first GPT: no cache at all", model_class="OpenAIGPTLMHeadModel"
    ),
    Architecture(
        "llama4_text, chunks of 16",
        "Llama4",
        {
            **SMALL,
            "intermediate_size_mlp": 64,
            "head_dim": 8,
            "num_local_experts": 4,
            "attention_chunk_size": 16,
            "no_rope_layers": [1, 0],
            "interleave_moe_layer_step": 2,
            "floor_scale": 16,
        },
        "chunks counted from the first pad; a layer without positions whose queries grow with the place",
        config_class="Llama4TextConfig",
        pads=False,
    ),
    Architecture("helium", "Helium", {**SMALL, "head_dim": 8}, "rotary of interleaved pairs", seed=2),
    Architecture("arcee", "Arcee", SMALL, "squared ReLU without a gate", seed=2),
    Architecture("seed_oss", "SeedOss", {**SMALL, "head_dim": 8}, "biases on q, k and v"),
    Architecture("apertus", "Apertus", SMALL, "an activation with weights (xIELU), llama3 rope", seed=3),
    Architecture(
        "exaone4, window 8",
        "Exaone4",
        {**SMALL, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "the layer that sees all has no positions",
    ),
    Architecture("diffllama", "DiffLlama", {**_FULL_HEADS, "head_dim": 8}, "the difference of two attentions"),
    Architecture("doge", "Doge", SMALL, "a mask it works out from the values"),
    Architecture(
        "jetmoe",
        "JetMoe",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "kv_channels": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
        },
        "attention is a mixture of experts as well",
        seed=3,
    ),
    Architecture(
        "dbrx",
        "Dbrx",
        {
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 256,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
            "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
            "initializer_range": 0.3,
        },
        "mixture of experts, q, k and v clipped",
    ),
    Architecture("bitnet", "BitNet", {**SMALL, "hidden_act": "relu2"}, "norms inside attention and MLP", seed=4),
    Architecture("nanochat", "NanoChat", SMALL, "norms without weights, logits capped"),
    Architecture(
        "modernbert-decoder, window 16",
        "ModernBertDecoder",
        {**SMALL, "local_attention": 16, "layer_types": _MIXED_LAYERS},
        "half of its window lies behind a token",
        scales={"attn": 0.5},
        seed=3,
    ),
    Architecture(
        "longcat_flash",
        "LongcatFlash",
        {
            **_LATENT,
            "hidden_size": 32,
            "ffn_hidden_size": 64,
            "expert_ffn_hidden_size": 32,
            "num_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "moe_topk": 2,
            "n_routed_experts": 4,
            "zero_expert_num": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
        },
        "two attentions a layer, experts that do nothing",
    ),
    Architecture(
        "afmoe, window 8",
        "Afmoe",
        {
            **SMALL,
            "head_dim": 8,
            "moe_intermediate_size": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "num_shared_experts": 1,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "the layer that sees all has no positions, attention has a gate",
        seed=3,
    ),
    Architecture(
        "mimo_v2_flash, window 8",
        "MiMoV2Flash",
        {
            **SMALL,
            "head_dim": 8,
            "v_head_dim": 8,
            "moe_intermediate_size": 32,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "sinks in the layer that slides",
        seed=2,
    ),
    Architecture(
        "kimi_linear",
        "KimiLinear",
        {
            **_FULL_HEADS,
            **_LATENT,
            "q_lora_rank": None,
            "moe_intermediate_size": 32,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "linear_head_dim": 8,
            "linear_num_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "a layer of delta attention (a state), a layer of latent attention without positions",
        seed=6,
    ),
    Architecture(
        "olmo_hybrid",
        "OlmoHybrid",
        {
            **_FULL_HEADS,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 16,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "a layer of gated delta rule (a state) and a layer of attention",
        seed=7,
    ),
    Architecture(
        "xlstm",
        "xLSTM",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 4, "qk_dim_factor": 1.0, "chunk_size": 16},
        "a state and no mask",
        seed=2,
        pads=False,
    ),
    Architecture("jais2", "Jais2", SMALL, "LayerNorm, squared ReLU, biases"),
    Architecture("hyperclovax", "HyperCLOVAX", SMALL, "norms after as well", seed=2),
    Architecture(
        "minicpm3",
        "MiniCPM3",
        {**_FULL_HEADS, **_LATENT, "scale_emb": 2, "dim_model_base": 32},
        "latent attention, multipliers",
        seed=3,
    ),
    Architecture("youtu", "Youtu", {**_FULL_HEADS, **_LATENT}, "latent attention without experts"),
    Architecture(
        "solar_open",
        "SolarOpen",
        {**SMALL, "head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        "mixture of experts",
        seed=5,
    ),
    Architecture(
        "flex_olmo", "FlexOlmo", {**SMALL, "num_experts": 4, "num_experts_per_tok": 2}, "mixture of experts"
    ),
    Architecture(
        "exaone_moe, window 8",
        "ExaoneMoe",
        {**SMALL, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        | {"sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "the layer that sees all has no positions",
    ),
    Architecture(
        "granite_swa, window 8",
        "GraniteSWA",
        {**SMALL, "attention_multiplier": 0.3, "sliding_window": 8, "layer_types": _MIXED_LAYERS},
        "attention sinks",
    ),
    Architecture(
        "granitemoeshared",
        "GraniteMoeShared",
        {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 32},
        "mixture of experts, one of them shared",
    ),
    Architecture(
        "cohere2_moe, window 8",
        "Cohere2Moe",
        {**SMALL, "head_dim": 8, "logit_scale": 1.0, "sliding_window": 8, "layer_types": _MIXED_LAYERS}
        | {"num_experts": 4, "num_experts_per_tok": 2},
        "the layer that sees all has no positions",
    ),
    Architecture(
        "hy_v3",
        "HYV3",
        {**SMALL, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        "mixture of experts, norms on q and k",
        seed=4,
    ),
    Architecture(
        "deepseek_v32, best 16",
        "DeepseekV32",
        {
            **_FULL_HEADS,
            **_LATENT,
            "head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
            "index_topk": 16,
            "index_head_dim": 16,
            "index_n_heads": 4,
        },
        "attention to the 16 tokens that an indexer chooses",
        seed=3,
    ),
    Architecture(
        "glm4_moe_lite",
        "Glm4MoeLite",
        {
            **_FULL_HEADS,
            **_LATENT,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
        "latent attention, mixture of experts",
    ),
    Architecture(
        "deepseek_v4",
        "DeepseekV4",
        {
            **SMALL,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "q_lora_rank": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "num_hidden_layers": 3,
            "layer_types": ["heavily_compressed_attention", "compressed_sparse_attention", "sliding_attention"],
            "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 8},
            "sliding_window": 8,
            "o_groups": 2,
            "o_lora_rank": 8,
            "index_n_heads": 2,
            "index_head_dim": 16,
            "index_topk": 4,
        },
        "keys and values compressed in groups counted from the first pad",
        pads=False,
    ),
    Architecture(
        "aria_text",
        "AriaText",
        {**SMALL, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
        "mixture of experts",
    ),
    Architecture(
        "flint, window 8",
        "Flint",
        {
            **SMALL,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "mixture of experts, one layer slides",
        seed=10,
    ),
    Architecture(
        "kolibri1, window 8",
        "Kolibri1",
        {
            **SMALL,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "mixture of experts, one layer slides",
        seed=2,
    ),
    Architecture(
        "laguna, window 8",
        "Laguna",
        {
            **SMALL,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "mixture of experts, attention with a gate, one layer slides",
    ),
    Architecture(
        "mellum, window 8",
        "Mellum",
        {
            **SMALL,
            "head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "sliding_window": 8,
            "layer_types": _MIXED_LAYERS,
        },
        "mixture of experts, one layer slides",
    ),
    Architecture(
        "lfm3, window 8",
        "Lfm3",
        {**SMALL, "head_dim": 8, "num_hidden_layers": 3, "sliding_window": 8}
        | {"layer_types": ["conv", "sliding_attention", "full_attention"]},
        "short convolution, a window, and attention to all",
    ),
    Architecture(
        "lara_mini, window 8",
        "LaraMini",
        {
            **SMALL,
            "head_dim": 8,
            "num_hidden_layers": 3,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "sliding_window": 8,
            "layer_types": ["linear_attention", "sliding_attention", "full_attention"],
        },
        "gated delta rule and attention",
        seed=4,
    ),
    Architecture(
        "zaya",
        "Zaya",
        {
            **SMALL,
            "tie_word_embeddings": False,
            "head_dim": 8,
            "num_experts": 4,
            "moe_intermediate_size": 32,
            "router_hidden_size": 16,
        },
        "convolutions inside attention, a router with layers of its own",
        seed=18,
    ),
    Architecture(
        "inkling_text, window 8",
        "Inkling",
        {
            **SMALL,
            "head_dim": 8,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 2,
            "swa_head_dim": 8,
            "sliding_window_size": 8,
            "d_rel": 4,
            "rel_extent": 32,
            "moe_intermediate_size": 32,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "local_layer_ids": [0],
            "logits_mup_width_multiplier": 1.0,
        },
        "biases for distances, short convolutions",
        config_class="InklingTextConfig",
        scales={"v_proj": 0.6},
    ),
    Architecture(
        "qwen3_5_text",
        "Qwen3_5",
        {
            **SMALL,
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "gated delta rule and attention, positions in three parts",
        config_class="Qwen3_5TextConfig",
        seed=6,
    ),
    Architecture(
        "bailing_hybrid",
        "BailingHybrid",
        {
            **_FULL_HEADS,
            **_LATENT,
            "head_dim": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "delta attention and latent attention",
        seed=7,
    ),
    Architecture(
        "dory, window 8",
        "Dory",
        {**SMALL, "head_dim": 8, "num_hidden_layers": 3, "n_input_layers": 1, "n_output_layers": 1}
        | {
            "sliding_window": 8,
            "ngpt_alpha_init": 0.5,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        "a layer run more than once",
        seed=2,
    ),
]


def build(architecture: Architecture, folder: Path, seed: int | None = None) -> Path:
    """Save a model and a tokenizer of one token a letter in a folder, in float32."""
    model_class, config = architecture.make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(architecture.seed if seed is None else seed)
        model = model_class(config).float().eval()
        _roughen(model, architecture)
    model.generation_config.eos_token_id = EOS
    model.generation_config.pad_token_id = PAD
    model.save_pretrained(folder)
    letters().save_pretrained(folder)
    return folder


def letters() -> PreTrainedTokenizerFast:
    """A tokenizer with one token a letter."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def load(folder: Path) -> PreTrainedModel:
    """The model of a folder as transformers loads it, in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def token_ids(prompt: str) -> torch.Tensor:
    """A prompt's tokens as a batch of one."""
    return torch.tensor([[WORDS[letter] for letter in prompt]])


def plain_steps(unused: PreTrainedModel, prompts: Sequence[str], new: int) -> list[tuple[list[int], torch.Tensor]]:
    """What transformers' own greedy ``generate`` adds to each prompt, one at a time, with the logits of each step.

    Each prompt is given to a copy: the model stays unused.
    """
    steps = []
    for prompt in prompts:
        ids = token_ids(prompt)
        with torch.inference_mode():
            out = copy.deepcopy(unused).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                do_sample=False,
                pad_token_id=PAD,
                return_dict_in_generate=True,
                output_logits=True,
            )
        steps.append((out.sequences[0, ids.shape[1] :].tolist(), torch.cat(out.logits)))
    return steps


def why_insensitive(
    unused: PreTrainedModel, steps: Sequence[tuple[list[int], torch.Tensor]], reach: int | None, new: int
) -> str:
    """Why a mistake in masks or caches might not show in this model's text; empty where it would.

    ``steps`` are ``plain_steps`` of ``PROMPTS``, of ``new`` tokens each.
    """
    model = copy.deepcopy(unused)
    long, short = token_ids(PROMPTS[2]), token_ids(PROMPTS[3])
    early = 1 if reach is None else max(1, long.shape[1] - reach)
    changed = long.clone()
    changed[0, early] = WORDS["q"]
    if (moved := _moved(_last(model, long), _last(model, changed))) < 0.05:
        return f"another token at position {early} moves the last logits by {moved:.4f} only"
    padded = torch.cat([torch.full((1, 8), PAD), short], dim=1)
    if (moved := _moved(_last(model, short), _last(model, padded))) < 0.05:
        return f"padding that is seen moves the last logits by {moved:.4f} only"

    texts = [tuple(tokens) for tokens, _ in steps]
    if len(set(texts)) < len(texts):
        return f"two prompts have one text: {texts}"
    if sum(len(set(text)) > 2 for text in texts) < len(texts) - 1:
        return f"the texts are mostly one or two letters: {texts}"
    if sum(len(text) == new for text in texts) < len(texts) - 1:
        return f"the texts end at once: {texts}"
    if (narrowest := min(_gap(logits) for _, logits in steps)) < 2e-3:
        return f"two tokens are nearly as likely: {narrowest:.5f} of the logits' spread apart"
    return ""


def _last(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(ids).logits[0, -1]


def _moved(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).square().mean().sqrt() / one.std())


def _gap(logits: torch.Tensor) -> float:
    """The smallest lead of the best token over the second, as a part of the logits' spread."""
    best = logits.topk(2, dim=-1).values
    return float(((best[:, 0] - best[:, 1]) / logits.std(dim=-1)).min())


def _roughen(model: PreTrainedModel, architecture: Architecture) -> None:
    """Draw all matrices anew and move all else a little, so that no part of the model does nothing."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if parameter.dim() > 1 and not any(part in name for part in ("A_log", "time_")):
            scale = next((each for part, each in architecture.scales.items() if part in name), architecture.scale)
            parameter.data.copy_(scale * noise)
        else:  # norms, biases, and what makes a state's decay
            parameter.data.add_(0.1 * noise)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.add_(0.1 * torch.randn_like(buffer))
