"""The linear recurrent unit recommender, readable top to bottom (Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024).

Kept from the paper: item vectors -> dropout -> LayerNorm, no positions, left padding, B blocks of a complex diagonal linear recurrence and a
position-wise feed-forward, post-norm residuals, ring initialisation, scores against the item table plus an item bias.
Changed, each by a setting: item vectors are a projection of frozen text embeddings plus a learned residual for movies of the training
conversations (`use_item_text`); the conversation's text embedding is added to the query (`use_text`), and what its last turns say one by one
(`turns`).
Complex parameters are stored as pairs of real ones, since fused optimisers take no complex tensors.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rar_pipeline.retriever.rescoring import FEATURES
from rar_pipeline.retriever.scan import Packing, recurrence


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of a retriever; stored beside its weights."""

    items: int  # N: movies of the corpus, in the order of movie_id
    known: int  # K: movies that training conversations mention; only they have a residual and a learned bias
    text_width: int = 384  # E: width of the text embeddings
    hidden: int = 64  # H
    blocks: int = 2
    dropout: float = 0.3
    r_min: float = 0.8
    r_max: float = 0.99
    use_text: bool = True
    use_item_text: bool = True
    turns: int = 6  # T: last turns that are also read one by one; 0: none
    heads: int = 4  # of the attention over turns
    axes: int = 128  # A: principal axes of the texts in which their cosine is taken; 0: none
    cosine_weight: float = 4.0  # what the score adds of it
    neighbours: int = 100  # strongest co-occurrences kept a known movie
    newcomers: int = 10  # most alike movies without a residual that are put forward a known movie; 0: none
    newcomer_votes: int = 1000  # IMDb votes that such a movie needs
    rescored: int = 500  # best movies of a query to whose scores features are added; 0: none

    def as_dict(self) -> dict[str, object]:
        """The configuration as plain JSON values."""
        return asdict(self)


def initialise(module: nn.Module) -> None:
    """Weights and biases of all linear maps below a module, as published: normal of deviation .02, cut at -.04 and .04."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            for parameter in part.parameters():
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)


class Dropout(nn.Dropout):
    """Dropout whose mask costs a CPU an eighth: 16 random bits an element, so that p is rounded to a multiple of 2^-16."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        threshold = round(self.p * 2**16)
        bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: x.numel()].view(x.shape) >= threshold - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - threshold))


class LinearRecurrentUnit(nn.Module):
    """y_k = LN(Drop(Re(C h_k)) + x_k) with h_k = lambda h_{k-1} + exp(gamma) (B x_k), lambda = exp(-exp(nu) + i exp(theta))."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, state = config.hidden, 2 * config.hidden
        # |lambda| uniform in area between r_min and r_max, phase uniform in [0, 2 pi)
        radius = torch.rand(state)
        phase = torch.rand(state)
        nu = torch.log(-0.5 * torch.log(radius * (config.r_max**2 - config.r_min**2) + config.r_min**2))
        theta = torch.log(2 * math.pi * phase)
        gamma = torch.log(torch.sqrt(1 - torch.exp(-torch.exp(nu)) ** 2))
        self.nu, self.theta, self.gamma = nn.Parameter(nu), nn.Parameter(theta), nn.Parameter(gamma)  # (2H,) each
        self.into_state = nn.Linear(width, 2 * state)  # B: real and imaginary part
        self.from_state = nn.Linear(2 * state, width)  # C: Re(C h) is a real map of (Re h, Im h)
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | Packing) -> Tensor:
        """x: (batch, length, H), mask: (batch, length) bool, False at padding; or x: (n, H) and its packing. Gives the shape of x."""
        decay = torch.exp(torch.complex(-torch.exp(self.nu), torch.exp(self.theta)))  # (2H,)
        # the small weights are scaled and interleaved (real, imaginary, real, ...), so that the large states need neither
        gain = torch.exp(self.gamma).unsqueeze(-1)  # (2H, 1)
        into = (self.into_state.weight.unflatten(0, (2, -1)) * gain).transpose(0, 1).flatten(0, 1)  # (4H, H)
        shift = (self.into_state.bias.unflatten(0, (2, -1)).T * gain).flatten()  # (4H,)
        out = self.from_state.weight.unflatten(1, (2, -1)).transpose(1, 2).flatten(1)  # (H, 4H)
        inputs = F.linear(x, into, shift).to(self.nu.dtype)  # states stay in full precision under autocast
        states = recurrence(decay, torch.view_as_complex(inputs.unflatten(-1, (-1, 2))), mask)  # (..., 2H) complex
        y = F.linear(torch.view_as_real(states).flatten(-2), out, self.from_state.bias)
        return self.norm(self.dropout(y) + x)


class Block(nn.Module):
    """A linear recurrent unit and a feed-forward H -> 4H -> H, GELU, residual, LayerNorm."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.unit = LinearRecurrentUnit(config)
        self.rise = nn.Linear(config.hidden, 4 * config.hidden)
        self.fall = nn.Linear(4 * config.hidden, config.hidden)
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.hidden)

    def forward(self, x: Tensor, mask: Tensor | Packing) -> Tensor:
        """(batch, length, H) -> (batch, length, H), or packed (n, H) -> (n, H)."""
        x = self.unit(x, mask)
        y = self.fall(self.dropout(F.gelu(self.rise(x))))
        return self.norm(self.dropout(y) + x)


class Blocks(nn.ModuleList):
    """The blocks one after another. On a CPU a padded batch is packed before the first and unpacked after the last."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__([Block(config) for _ in range(config.blocks)])
        initialise(self)

    def forward(self, x: Tensor, mask: Tensor | Packing) -> Tensor:
        """x: (batch, length, H), mask: (batch, length) bool, False at padding, where the result is meaningless; or packed (n, H)."""
        if isinstance(mask, Tensor) and x.device.type == "cpu":
            packing = Packing.of(mask)
            return packing.unpack(self.forward(packing.pack(x), packing), mask.shape)
        for block in self:
            x = block(x, mask)
        return x


class TurnReader(nn.Module):
    """What the last turns say, each by itself: attention that looks at a turn's words, at who spoke, and at how long ago.

    A greeting then does not dilute the one turn that names a genre, as it does where all turns are embedded together.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads, width = config.heads, config.hidden
        self.dropout = Dropout(config.dropout / 2)
        self.key = nn.Linear(config.text_width, width)
        self.speaker = nn.Embedding(3, width)  # of examples.NOBODY, SEEKER, RECOMMENDER
        self.ago = nn.Parameter(torch.randn(config.turns, width) * 0.1)
        self.weight = nn.Linear(width, config.heads, bias=False)  # a bias would weigh all turns alike
        self.value = nn.Linear(config.text_width, config.heads * width, bias=False)
        nn.init.normal_(self.speaker.weight, std=0.1)
        nn.init.normal_(self.value.weight, std=0.02)

    def forward(self, turns: Tensor, speakers: Tensor) -> Tensor:
        """turns: (batch, T, E), speakers: (batch, T) -> (batch, H), zero where nobody spoke."""
        spoken = (speakers > 0).unsqueeze(-1)  # (batch, T, 1)
        words = self.dropout(turns)
        keys = torch.tanh(self.key(words) + self.speaker(speakers) + self.ago)  # (batch, T, H)
        weights = (4 * self.weight(keys)).masked_fill(~spoken, -1e4).softmax(dim=1)  # (batch, T, heads)
        values = self.value(words).unflatten(-1, (self.heads, -1))  # (batch, T, heads, H)
        return torch.einsum("bth,bthw->bw", weights * spoken, values)


class Retriever(nn.Module):
    """Scores every movie of the corpus for a history and a conversation.

    s(j) = (LRU(x) + V t + attention(turns)) . z_j + c * cosine(t, e_j) + bias_j + a * sum over x of cooccurrence(x_i, j) + n * newcomer(x, j),
    with z_j = W e_j + r_j; and for the best of these s(j) + w . features(x, t, j) (rescoring.py).

    Movies that training names at least twice are "known" and have a residual r_j and a bias of their own; all others are scored by their text and
    their facts alone, so that a movie added yesterday can be retrieved at once. c is a setting: training learns what is to be added to a search by
    text. The weights a, n and w, of co-occurrence, newcomers (newcomers.py) and features, are fitted apart (fitting.py). Item vectors are
    (z_j, P e_j) and queries (q, c P t), with P the principal axes of the embeddings, so that one product gives all but the bias and those three.
    Embeddings `items` (N, E) and `facts` (N, F) are handed in: they belong to the corpus.
    """

    FACTS = 3  # F: log votes, has a plot, age of the movie

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.residual = nn.Parameter(torch.randn(config.known, width) * 0.02)  # (K, H)
        self.bias = nn.Parameter(torch.zeros(config.known))  # (K,)
        self.prior = nn.Linear(self.FACTS, 1)  # bias of a movie by its facts
        self.project = nn.Linear(config.text_width, width, bias=False) if config.use_item_text else None
        self.text = nn.Sequential(Dropout(config.dropout / 2), nn.Linear(config.text_width, width)) if config.use_text else None
        self.reader = TurnReader(config) if config.use_text and config.turns else None
        self.start = nn.Parameter(torch.zeros(width))  # query of an empty history
        self.axes: Tensor  # P
        self.register_buffer(
            "axes", torch.zeros(config.axes if config.use_text and config.use_item_text else 0, config.text_width)
        )
        self.dropout = Dropout(config.dropout)
        self.norm = nn.LayerNorm(width)
        self.blocks = Blocks(config)
        kept = min(config.neighbours, config.known)
        self.cooccurrence_weight: Tensor
        self.cooccurrence_columns: Tensor
        self.cooccurrence_values: Tensor
        self.register_buffer("cooccurrence_weight", torch.zeros(()))
        self.register_buffer(
            "cooccurrence_columns", torch.zeros(config.known, kept, dtype=torch.int32)
        )  # numbers of known movies
        self.register_buffer("cooccurrence_values", torch.zeros(config.known, kept))
        self.newcomer_weight: Tensor
        self.register_buffer("newcomer_weight", torch.zeros(()))
        self.named: Tensor
        self.register_buffer("named", torch.zeros(config.known))  # log(1 + training dialogues that name a known movie)
        self.feature_weights: Tensor
        self.register_buffer("feature_weights", torch.zeros(len(FEATURES)))

    @property
    def rescores(self) -> bool:
        """Whether the best of a search get features added, if the catalogue has traits."""
        return self.config.rescored > 0 and bool(self.feature_weights.any())

    def vectors(self, items: Tensor, known: Tensor) -> Tensor:
        """Item vectors: items (n, E) text embeddings, known (n,) index of the residual or -1 -> (n, H + A)."""
        rows = self.residual[known.clamp(min=0)] * (known >= 0).unsqueeze(-1)
        if self.project is not None:
            rows = rows + self.project(items)
        return torch.cat([rows, items @ self.axes.T], dim=-1)

    def biases(self, facts: Tensor, known: Tensor) -> Tensor:
        """Item biases: facts (n, F), known (n,) -> (n,)."""
        return self.prior(facts).squeeze(-1) + self.bias[known.clamp(min=0)] * (known >= 0)

    def query(self, history: Tensor, mask: Tensor, text: Tensor, has_text: Tensor, turns: Tensor, speakers: Tensor) -> Tensor:
        """Query vectors (batch, H + A) of what `examples.Batch` describes; `history` (batch, length, H + A) as item vectors, left-padded."""
        x = self.norm(self.dropout(history[..., : self.config.hidden]))
        x = self.blocks(x, mask)
        q = torch.where(mask.any(dim=1, keepdim=True), x[:, -1], self.start.expand(x.shape[0], -1))
        if self.text is not None:
            q = q + self.text(text) * has_text.unsqueeze(-1)
        if self.reader is not None:
            q = q + self.reader(turns, speakers)
        return torch.cat([q, self.config.cosine_weight * has_text.unsqueeze(-1) * (text @ self.axes.T)], dim=-1)

    @torch.no_grad()
    def take_axes(self, embeddings: Tensor) -> None:
        """Lay the axes for the cosine along the principal axes of some movies' `embeddings` (n, E); what n or E cannot fill stays zero."""
        floats = embeddings.float()
        found = torch.linalg.svd(floats - floats.mean(dim=0), full_matrices=False).Vh[: len(self.axes)]
        self.axes[: len(found)] = found
