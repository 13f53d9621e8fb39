"""The linear recurrent unit is the published one: its scan is the plain recurrence, padding changes nothing."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.retriever.network import LinearRecurrentUnit, NetworkConfig, Retriever
from rar_pipeline.retriever.scan import scan

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
    query = retriever.query(torch.randn(1, 1, 8), torch.zeros(1, 1, dtype=torch.bool), torch.randn(1, 16), torch.zeros(1))
    torch.testing.assert_close(query[0], retriever.start)


def test_a_movie_that_training_does_not_know_is_its_text_alone() -> None:
    retriever = Retriever(CONFIG)
    items = torch.randn(2, 16)
    vectors = retriever.vectors(items, torch.tensor([-1, 3]))
    assert retriever.project is not None
    torch.testing.assert_close(vectors[0], retriever.project(items)[0])
    torch.testing.assert_close(vectors[1], retriever.project(items)[1] + retriever.residual[3])
