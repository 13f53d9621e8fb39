"""The linear recurrent unit is the published one: its scan is the plain recurrence, padded or packed, and padding changes nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.retriever.network import Blocks, Dropout, LinearRecurrentUnit, NetworkConfig, Retriever, TurnReader
from rar_pipeline.retriever.scan import Packing, recurrence, scan

CONFIG = NetworkConfig(items=20, known=10, text_width=16, hidden=8, dropout=0.0, neighbours=3)


def plain_recurrence(decay: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    state, states = torch.zeros_like(inputs[:, 0]), []
    for step in range(inputs.shape[1]):
        state = decay * state + inputs[:, step]
        states.append(state)
    return torch.stack(states, dim=1)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 70), batch=st.integers(1, 4), double=st.booleans(), seed=st.integers(0, 10_000))
def test_the_scan_equals_the_loop(length: int, batch: int, double: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.complex128 if double else torch.complex64
    decay = torch.polar(torch.rand(5, generator=generator) * 0.99, torch.rand(5, generator=generator) * 6.3).to(kind)
    inputs = torch.randn(batch, length, 5, generator=generator, dtype=torch.complex64).to(kind)
    tolerance = 1e-10 if double else 2e-5
    torch.testing.assert_close(scan(decay, inputs), plain_recurrence(decay, inputs), rtol=tolerance, atol=tolerance)


def left_mask(lengths: list[int], width: int) -> torch.Tensor:
    return torch.arange(width) >= width - torch.tensor(lengths)[:, None]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    padding=st.integers(0, 3),
    on_the_right=st.booleans(),
    double=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_packed_states_and_gradients_are_those_of_the_loop(
    lengths: list[int], padding: int, on_the_right: bool, double: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.complex128 if double else torch.complex64
    mask = left_mask(lengths, max(lengths) + padding)
    mask = mask.flip(1) if on_the_right else mask
    decay = torch.polar(torch.rand(3, generator=generator) * 0.99, torch.rand(3, generator=generator) * 6.3).to(kind)
    inputs = torch.randn(*mask.shape, 3, generator=generator, dtype=torch.complex64).to(kind)
    towards = torch.randn(*mask.shape, 3, generator=generator, dtype=torch.complex64).to(kind) * mask.unsqueeze(-1)

    def packed(decay: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        packing = Packing.of(mask)
        return packing.unpack(recurrence(decay, packing.pack(inputs), packing), mask.shape)

    def plain(decay: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        if not mask.shape[1]:
            return inputs
        return plain_recurrence(decay, inputs * mask.unsqueeze(-1)) * mask.unsqueeze(-1)

    results = []
    for computed in (packed, plain):
        leaves = decay.clone().requires_grad_(), inputs.clone().requires_grad_()
        states = computed(*leaves)
        loss = (states * towards.conj()).real.sum() + 0 * leaves[0].real.sum()
        results.append((states.detach(), *torch.autograd.grad(loss, leaves)))
    tolerance = 1e-10 if double else 1e-4
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=7), padding=st.integers(0, 3))
def test_packing_keeps_every_item_and_knows_the_last_of_each_sequence(lengths: list[int], padding: int) -> None:
    mask = left_mask(lengths, max(lengths) + padding)
    numbers = torch.arange(mask.numel()).view(*mask.shape, 1) + 1
    packing = Packing.of(mask)
    packed = packing.pack(numbers)
    assert len(packed) == sum(lengths) == sum(packing.alive)
    assert torch.equal(packing.unpack(packed, mask.shape), numbers * mask.unsqueeze(-1))
    for row, length in enumerate(lengths):
        assert (packed[packing.last[row]] == numbers[row, -1]) if length else packing.last[row] == -1


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_blocks_learn_the_same_from_packed_and_from_padded_sequences(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    blocks = Blocks(CONFIG).double()
    mask = left_mask(lengths, max(lengths))
    x = torch.randn(*mask.shape, 8, dtype=torch.float64)
    towards = torch.randn(int(mask.sum()), 8, dtype=torch.float64)
    padded = x
    for block in blocks:  # as on a GPU
        padded = block(padded, mask)
    outcomes = [padded[mask], blocks(x, mask)[mask]]
    torch.testing.assert_close(*outcomes)
    gradients = [
        torch.autograd.grad((outcome * towards).sum(), list(blocks.parameters()), materialize_grads=True) for outcome in outcomes
    ]
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)


def test_weights_begin_as_published_and_the_ring_is_left_alone() -> None:
    torch.manual_seed(0)
    for name, parameter in Blocks(NetworkConfig(1, 1, hidden=64)).named_parameters():
        last = name.split(".")[-1]
        if "norm" in name:
            assert set(parameter.unique().tolist()) <= {0.0, 1.0}
        elif last in ("nu", "theta", "gamma"):
            assert parameter.abs().max() > 0.04
        else:
            assert parameter.abs().max() <= 0.04
            # a normal of deviation .02 that is cut at two deviations has deviation .0176
            assert last == "bias" or float(parameter.detach().std()) == pytest.approx(0.0176, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(p=st.floats(0.01, 0.95), seed=st.integers(0, 1000))
def test_dropout_keeps_one_minus_p_and_the_mean(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.full((201, 199), 2.0, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    assert abs(float(kept.float().mean()) - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 2**-16
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / (1 - p)), rtol=1e-3, atol=0)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * 2, y.detach())
    assert torch.equal(Dropout(p).eval()(x), x)
    assert not torch.equal(Dropout(p)(x), y)


@settings(max_examples=30, deadline=None)
@given(padding=st.integers(0, 9), seed=st.integers(0, 1000))
def test_left_padding_changes_nothing(padding: int, seed: int) -> None:
    torch.manual_seed(seed)
    unit = LinearRecurrentUnit(CONFIG).eval()
    x = torch.randn(2, 5, 8)
    padded = torch.cat([torch.randn(2, padding, 8), x], dim=1)
    mask = torch.cat([torch.zeros(2, padding, dtype=torch.bool), torch.ones(2, 5, dtype=torch.bool)], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(unit(padded, mask)[:, padding:], unit(x, mask[:, padding:]), rtol=1e-4, atol=1e-5)


def test_ring_initialisation_lies_between_its_radii() -> None:
    torch.manual_seed(0)
    radius = torch.exp(-torch.exp(LinearRecurrentUnit(NetworkConfig(1, 1, hidden=512)).nu)).detach()
    assert radius.min() >= 0.8 - 1e-5 and radius.max() <= 0.99 + 1e-5
    # uniform in area: the mean of the squared radius is the middle of the squares
    assert abs(float((radius**2).mean()) - (0.8**2 + 0.99**2) / 2) < 0.01


def test_an_empty_history_gives_the_learned_start() -> None:
    retriever = Retriever(CONFIG).eval()
    torch.nn.init.normal_(retriever.start)
    silence = torch.randn(1, 6, 16), torch.zeros(1, 6, dtype=torch.long)
    query = retriever.query(
        torch.randn(1, 1, 8), torch.zeros(1, 1, dtype=torch.bool), torch.randn(1, 16), torch.zeros(1), *silence
    )
    torch.testing.assert_close(query[0, :8], retriever.start)


def test_a_movie_that_training_does_not_know_is_its_text_alone() -> None:
    retriever = Retriever(CONFIG)
    items = torch.randn(2, 16)
    vectors = retriever.vectors(items, torch.tensor([-1, 3]))
    assert retriever.project is not None
    torch.testing.assert_close(vectors[0, :8], retriever.project(items)[0])
    torch.testing.assert_close(vectors[1, :8], retriever.project(items)[1] + retriever.residual[3])


def test_who_spoke_last_and_what_was_said_reaches_the_query_and_padding_does_not() -> None:
    reader = TurnReader(CONFIG).eval()
    turns, speakers = torch.randn(1, 6, 16), torch.tensor([[1, 2, 1, 0, 0, 0]])
    said = reader(turns, speakers)
    padded = turns.clone()
    padded[:, 3:] = 100.0
    torch.testing.assert_close(reader(padded, speakers), said)
    assert not torch.allclose(reader(turns.flip(1)[:, [3, 4, 5, 0, 1, 2]], speakers), said), "the order counts"
    assert not torch.allclose(reader(turns, torch.tensor([[2, 1, 2, 0, 0, 0]])), said), "the speaker counts"
    assert not reader(turns, torch.zeros(1, 6, dtype=torch.long)).any()


def test_the_score_holds_the_cosine_of_the_texts_from_the_start() -> None:
    torch.manual_seed(0)
    retriever = Retriever(NetworkConfig(items=40, known=40, text_width=8, hidden=4, axes=8, dropout=0.0)).eval()
    movies, words = torch.randn(40, 8), torch.randn(2, 8)
    retriever.take_axes(movies)
    past, silence = (
        (torch.zeros(2, 1, 12), torch.zeros(2, 1, dtype=torch.bool)),
        (torch.zeros(2, 6, 8), torch.zeros(2, 6).long()),
    )
    with torch.no_grad():
        queries = retriever.query(*past, words, torch.tensor([1.0, 0.0]), *silence)
        vectors = retriever.vectors(movies, torch.full((40,), -1))
    # all eight axes turn the texts without changing their products; a query without text asks nothing of them
    torch.testing.assert_close(queries[0, 4:] @ vectors[:, 4:].T, 4 * words[0] @ movies.T, rtol=1e-4, atol=1e-4)
    assert not queries[1, 4:].any()
