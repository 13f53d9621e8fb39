"""Every objective is its equation, pulls where it should, and stays a number where logits are extreme."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rar_pipeline.preference.credit import movie_credits
from rar_pipeline.preference.objectives import (
    divergence,
    dpo,
    independent_log_probability,
    lambda_credit,
    mult_dpo,
    odds,
    pl_rloo,
    plackett_luce_log_probability,
)

SETS = {"plackett_luce": plackett_luce_log_probability, "independent": independent_log_probability}


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at, retain_graph=True)[0]


def test_plackett_luce_by_hand() -> None:
    # weights 4, 2, 1, 1: drawing the first and then the third has probability 4/8 x 1/4
    weights = torch.log(torch.tensor([[4.0, 2.0, 1.0, 1.0]]))
    found = plackett_luce_log_probability(weights, torch.tensor([[[0, 2], [2, 0]]]))
    assert found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx([math.log(4 / 8 * 1 / 4), math.log(1 / 8 * 4 / 7)], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 5))
def test_plackett_luce_probabilities_of_all_orders_add_up_to_one(seed: int, size: int) -> None:
    orders = torch.tensor([list(itertools.permutations(range(5), size))])
    assert plackett_luce_log_probability(logits(seed, 1, 5), orders).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_dpo_by_hand() -> None:
    one = torch.tensor([-1.0])
    loss, margin = dpo(one, one * 3, one * 2, one * 2, beta=0.5, label_smoothing=0.1)  # margin 0.5 * ((-1 + 3) - 0) = 1
    assert margin.item() == pytest.approx(1.0)
    assert loss.item() == pytest.approx(-0.9 * math.log(1 / (1 + math.exp(-1))) - 0.1 * math.log(1 / (1 + math.exp(1))), abs=1e-6)


def dpo_gradient(policy: Tensor, winner: list[int], loser: list[int], name: str) -> Tensor:
    policy = policy.clone().requires_grad_()
    sets = SETS[name](policy, torch.tensor([[winner, loser]]))
    base = SETS[name](logits(99, *policy.shape), torch.tensor([[winner, loser]]))
    return gradient(dpo(sets[:, 0], sets[:, 1], base[:, 0], base[:, 1], beta=0.1, label_smoothing=0.0)[0], policy)[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), winner=st.permutations(range(4)), loser=st.permutations([0, 1, 4, 5]))
def test_movies_of_both_sets_get_no_gradient_in_dpo(seed: int, winner: list[int], loser: list[int]) -> None:
    found = dpo_gradient(logits(seed, 1, 8), winner, loser, "independent")
    assert found[[0, 1, 6, 7]].abs().max() < 1e-12, "common movies and bystanders"
    assert (found[[2, 3]] < 0).all() and (found[[4, 5]] > 0).all(), "a step down raises what only the winner holds"


def test_with_the_exact_probability_common_movies_cancel_where_they_were_drawn_first_and_alike() -> None:
    """Elsewhere the normaliser of a draw depends on what is left: a common movie drawn after others keeps a small gradient."""
    start = logits(0, 1, 8)
    alike = dpo_gradient(start, [0, 1, 2], [0, 1, 3], "plackett_luce")
    assert alike[[0, 1, 4, 5, 6, 7]].abs().max() < 1e-12
    assert alike[2] < 0 < alike[3]
    later = dpo_gradient(start, [2, 0, 1], [3, 0, 1], "plackett_luce")
    assert 0 < later[[0, 1]].abs().max() < later[[2, 3]].abs().min()


def test_odds_by_hand() -> None:
    weights = torch.log(torch.tensor([[4.0, 2.0, 1.0, 1.0]]))  # mean probabilities 3/8 and 1/8, odds 3/5 and 1/7
    found = odds(weights, torch.tensor([[0, 1]]), torch.tensor([[2, 3]]), beta=0.01)
    assert found.item() == pytest.approx(0.01 * math.log(1 + (1 / 7) / (3 / 5)), abs=1e-7)


def test_mult_dpo_by_hand_and_with_one_movie_a_side_it_is_dpo() -> None:
    policy, reference = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]])), torch.log(torch.tensor([[0.25] * 4]))
    positives, negatives = torch.tensor([[True, True, False, False]]), torch.tensor([[False, False, True, False]])
    r = [0.5 * math.log(p / 0.25) for p in (0.4, 0.3, 0.2)]
    total = math.log(sum(map(math.exp, r)))
    found = mult_dpo(policy, reference, positives, negatives, beta=0.5)
    assert found.item() == pytest.approx(-(r[0] - total) - (r[1] - total), abs=1e-6)
    single = mult_dpo(policy, reference, positives & torch.tensor([[True, False, False, False]]), negatives, beta=0.5)
    pair, _ = dpo(policy[:, 0], policy[:, 2], reference[:, 0], reference[:, 2], beta=0.5, label_smoothing=0.0)
    assert single.item() == pytest.approx(pair.item(), abs=1e-6)


def test_contexts_without_both_kinds_of_movies_say_nothing_to_mult_dpo() -> None:
    policy = logits(0, 2, 4).requires_grad_()
    none, some = torch.zeros(2, 4, dtype=torch.bool), torch.tensor([[True, False, False, False]] * 2)
    assert mult_dpo(policy, policy.detach(), some, none, beta=0.1).item() == 0
    alone = mult_dpo(policy, policy.detach(), some, torch.tensor([[False] * 4, [False, True, True, False]]), beta=0.1)
    assert gradient(alone, policy)[0].abs().max() == 0


def test_pl_rloo_by_hand() -> None:
    logs = torch.tensor([[-1.0, -2.0, -4.0]])
    rewards = torch.tensor([[1.0, 0.0, 0.5]])
    every = torch.ones(1, 3, dtype=torch.bool)
    # advantages 1 - .25, 0 - .75, .5 - .5
    assert pl_rloo(logs, rewards, every, size=2).item() == pytest.approx(-(0.75 * -1 + -0.75 * -2) / 3 / 2)
    assert pl_rloo(logs, rewards, torch.tensor([[True, False, False]]), size=2).item() == 0, "alone nothing can be compared"
    assert pl_rloo(logs, torch.tensor([[1.0, 0.0, torch.nan]]), torch.tensor([[True, True, False]]), size=2).isfinite()


def test_over_all_draws_of_two_sets_the_gradient_of_pl_rloo_is_that_of_the_expected_reward() -> None:
    scores = logits(3, 1, 4).requires_grad_()
    orders = list(itertools.permutations(range(4), 2))
    logs = plackett_luce_log_probability(scores, torch.tensor([orders]))[0]  # (12,)
    rewards = logits(4, len(orders)).abs()
    wanted = gradient(-(logs.exp() * rewards).sum() / 2, scores)
    pairs = [(a, b) for a in range(len(orders)) for b in range(len(orders))]
    chance = logs.detach().exp()
    every = torch.ones(1, 2, dtype=torch.bool)
    total = sum(
        chance[a] * chance[b] * pl_rloo(logs[[a, b]].unsqueeze(0), rewards[[a, b]].unsqueeze(0), every, size=2) for a, b in pairs
    )
    torch.testing.assert_close(gradient(total, scores), wanted, atol=1e-12, rtol=0)


def test_credits_are_what_places_are_worth() -> None:
    credits = movie_credits(["a", "b", "y", "c"], ["y"])
    cost = 1 / math.log2(3) - 1 / math.log2(4)
    assert credits == {"y": pytest.approx(1 / math.log2(4)), "a": pytest.approx(-cost), "b": pytest.approx(-cost)}
    assert movie_credits(["y", "a"], ["y"]) == {"y": pytest.approx(1.0)}
    missing = movie_credits(["a", "b"], ["y"])
    assert set(missing) == {"a", "b"} and missing["a"] == pytest.approx(-cost), "as if it stood behind the list"


@settings(max_examples=50, deadline=None)
@given(ranking=st.permutations(list("abcdefgh")), wanted=st.sets(st.sampled_from("abcdefghz"), min_size=1, max_size=3))
def test_a_distractors_credit_is_what_the_targets_gain_without_it(ranking: list[str], wanted: set[str]) -> None:
    def gain(order: list[str]) -> float:
        places = {movie: place for place, movie in enumerate([*order, *sorted(wanted - set(order))], 1)}
        ideal = sum(1 / math.log2(place + 2) for place in range(len(wanted)))
        return sum(1 / math.log2(places[movie] + 1) for movie in wanted & set(order)) / ideal

    credits = movie_credits(ranking, wanted)
    assert {movie for movie, credit in credits.items() if credit > 0} == wanted & set(ranking)
    assert sum(credit for credit in credits.values() if credit > 0) == pytest.approx(gain(ranking))
    if wanted <= set(ranking):
        for movie in set(ranking) - wanted:
            without = [other for other in ranking if other != movie]
            assert -credits.get(movie, 0.0) == pytest.approx(gain(without) - gain(ranking), abs=1e-9)


def test_lambda_credit_raises_what_has_credit_and_lowers_what_cost() -> None:
    scores = logits(0, 2, 4).requires_grad_()
    credits = torch.tensor([[1.0, -0.2, -0.1, 0.0], [0.0] * 4], dtype=torch.float64)
    loss = lambda_credit(scores.log_softmax(1), credits)
    assert loss.item() == pytest.approx(-(credits * scores.log_softmax(1)).sum().item() / 2)
    found = gradient(loss, scores)
    assert found[0, 0] < 0 < found[0, 1] and found[1].abs().max() == 0


def test_divergence_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    policy, reference = logits(0, 3, 6).log_softmax(1), logits(1, 3, 6).log_softmax(1)
    assert divergence(policy, policy).abs().max() < 1e-12
    torch.testing.assert_close(
        divergence(policy, reference),
        torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x) for x in (policy, reference))),
    )


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("size", [2, 6])  # 6: the whole pool
def test_losses_and_gradients_are_finite_at_extreme_logits(scale: float, size: int) -> None:
    scores = (logits(0, 3, 6).float() * scale).requires_grad_()
    reference = (logits(1, 3, 6).float() * scale).log_softmax(1)
    generator = torch.Generator().manual_seed(0)
    sets = torch.stack([torch.stack([torch.randperm(6, generator=generator)[:size] for _ in range(2)]) for _ in range(3)])
    policy = scores.log_softmax(1)
    exact = plackett_luce_log_probability(policy, sets)
    held = torch.zeros(3, 6, dtype=torch.bool)
    held[:, 0] = True
    losses = {
        "dpo": dpo(exact[:, 0], exact[:, 1], exact[:, 1].detach(), exact[:, 0].detach(), beta=0.1, label_smoothing=0.1)[0],
        "odds": odds(policy, sets[:, 0], sets[:, 1], beta=0.01),
        "mult_dpo": mult_dpo(policy, reference, held, ~held, beta=0.1),
        "pl_rloo": pl_rloo(exact, torch.tensor([[1.0, 0.0]] * 3), torch.ones(3, 2, dtype=torch.bool), size=size),
        "lambda_credit": lambda_credit(policy, logits(2, 3, 6).float()),
        "divergence": divergence(policy, reference).mean(),
    }
    for name, loss in losses.items():
        assert loss.isfinite(), name
        assert torch.autograd.grad(loss, scores, retain_graph=True)[0].isfinite().all(), name
