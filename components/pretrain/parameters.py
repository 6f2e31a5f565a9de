"""Parameters of the pretrain stage."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from components.contract import StageParameters


class Architecture(StageParameters):
    """The decoder: a transformers configuration, the common settings by transformers' own names."""

    model_type: str = Field(
        default="llama", min_length=1, description="A causal decoder that transformers knows: llama, gpt2, qwen3 ..."
    )
    hidden_size: int = Field(default=128, ge=8, le=65536, description="Width of the residual stream.")
    intermediate_size: int = Field(default=352, ge=8, le=262144, description="Width of the feed-forward layer.")
    num_hidden_layers: int = Field(default=4, ge=1, le=512, description="Number of blocks.")
    num_attention_heads: int = Field(default=4, ge=1, le=1024, description="Query heads.")
    num_key_value_heads: int | None = Field(
        default=None, ge=1, le=1024, description="Key and value heads, for grouped queries. Null: as many as heads."
    )
    tie_word_embeddings: bool = Field(default=True, description="One matrix for the embedding and the output layer.")
    extra: dict[str, Any] = Field(
        default={}, description="Any other setting of the model type's transformers configuration, passed as it is."
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Architecture:
        problems = []
        if self.hidden_size % self.num_attention_heads:
            problems.append(
                f"hidden_size {self.hidden_size} is not divisible by num_attention_heads {self.num_attention_heads}; "
                f"choose a multiple"
            )
        elif "head_dim" not in self.extra and (self.hidden_size // self.num_attention_heads) % 2:
            problems.append(
                f"a head would have {self.hidden_size // self.num_attention_heads} dimensions (hidden_size / "
                f"num_attention_heads); rotary positions need an even number"
            )
        if self.num_key_value_heads and self.num_attention_heads % self.num_key_value_heads:
            problems.append(
                f"num_attention_heads {self.num_attention_heads} is not divisible by num_key_value_heads "
                f"{self.num_key_value_heads}; choose a divisor"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class PretrainParameters(StageParameters):
    """What is trained, on how much, and how."""

    init: str = Field(
        default="scratch",
        min_length=1,
        description="'scratch', a local Hugging Face folder, or a hub id: weights and architecture to go on from.",
    )
    architecture: Architecture = Field(default=Architecture(), description="The decoder made by init: scratch.")
    context: int = Field(default=128, ge=8, le=1_048_576, description="Tokens of a training sequence.")
    batch_size: int = Field(
        default=32, ge=1, le=1_048_576, description="Sequences of a step, over all processes together."
    )
    steps: int | None = Field(default=600, ge=1, description="Budget in optimizer steps. Set exactly one budget.")
    epochs: float | None = Field(default=None, gt=0, description="Budget in passes over the training tokens.")
    tokens: int | None = Field(default=None, ge=1, description="Budget in training tokens, rounded up to whole steps.")
    optimizer: Literal["muon", "adamw"] = Field(
        default="muon", description="muon: Muon on hidden matrices and AdamW on the rest; adamw: AdamW on all."
    )
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="AdamW's peak learning rate.")
    muon_learning_rate: float = Field(default=0.02, gt=0, le=1, description="Muon's peak learning rate.")
    weight_decay: float = Field(
        default=0.1, ge=0, le=1, description="Decoupled weight decay of matrices, times the learning rate."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW's decay rate of the first moment.")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW's decay rate of the second moment.")
    warmup: float = Field(default=0.05, ge=0, le=1, description="Share of the steps in which the rate rises linearly.")
    final_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the peak rate to which the cosine falls at the last step."
    )
    clip: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; null does not clip.")
    processes: int = Field(
        default=2, ge=1, le=65536, description="Processes that share each batch, started with accelerate."
    )
    log_every: int = Field(default=10, ge=1, description="Steps between points of the training curve.")
    checkpoint_every: int = Field(default=100, ge=1, description="Steps between checkpoints.")
    keep_last: int = Field(default=2, ge=1, le=1000, description="Newest checkpoints that are kept.")
    keep_best: int = Field(
        default=1, ge=0, le=1000, description="Checkpoints with the lowest validation loss that are kept beside them."
    )
    evaluate_every: int = Field(default=200, ge=1, description="Steps between validation losses and samples.")
    evaluation_tokens: int = Field(
        default=16_384, ge=1, description="Validation tokens used within the training; at its end all are."
    )
    sample_prompts: list[str] = Field(
        default=["Return the", "If the file"], description="Beginnings that samples continue."
    )
    sample_tokens: int = Field(default=40, ge=1, le=4096, description="Tokens of a sample at most.")

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainParameters:
        problems = []
        budgets = {name: getattr(self, name) for name in ("steps", "epochs", "tokens")}
        given = [name for name, value in budgets.items() if value is not None]
        if len(given) != 1:
            problems.append(
                f"{' and '.join(given) if given else 'none of steps, epochs and tokens'} set; set exactly one and make "
                f"the others null"
            )
        if self.batch_size % self.processes:
            problems.append(
                f"batch_size {self.batch_size} is not divisible by processes {self.processes}; choose a multiple"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self
