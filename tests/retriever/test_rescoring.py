"""Features by hand, weights that find what was put in, and search that adds them to the best and to nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from rar_pipeline.errors import RarError
from rar_pipeline.files import sha256_of
from rar_pipeline.preference.pools import Pools
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.fitting import Fitting
from rar_pipeline.retriever.network import NetworkConfig, Retriever
from rar_pipeline.retriever.rescoring import FEATURES, MOST_COUNTED, features, fit_weights
from rar_pipeline.retriever.search import build_index, features_of, search
from rar_pipeline.retriever.traits import Traits, Wish, build_traits
from rar_pipeline.retriever.version import RECORD, WEIGHTS, Version, load, save
from rar_pipeline.tables import CASES
from tests.retriever.test_search import made_up

PLACE = {name: place for place, name in enumerate(FEATURES)}


def traits_of(rows: list[tuple[list[str], list[str], float, int]]) -> Traits:
    """Genres, cast, log10 votes and year of every movie."""
    movies = pl.DataFrame(
        [{"genres": genres, "directors": None, "cast": cast, "rating": None} for genres, cast, _, _ in rows],
        schema={"genres": pl.List(pl.String), "directors": pl.List(pl.String), "cast": pl.List(pl.String), "rating": pl.Float64},
    )
    facts = np.array([[votes, 0, (2020 - year) / 10] for _, _, votes, year in rows], np.float32)
    return build_traits(movies, facts)


def test_features_by_hand() -> None:
    traits = traits_of(
        [
            (["Crime", "Drama"], ["Al Pacino", "Robert De Niro"], 5.0, 1995),
            (["Drama"], ["Al Pacino"], 4.0, 1975),
            (["Comedy"], ["Jim Carrey"], 3.0, 2005),
        ]
    )
    wish = traits.wish("Seeker: a comedy with jim carrey, or some crime drama")
    rows = np.array([[0, 2], [1, 2]])
    nothing = np.zeros((2, 2), np.float32)
    found = features(traits, [[1], []], [wish, Wish()], rows, nothing, nothing + 0.5, nothing)

    def of(name: str) -> list[list[float]]:
        return found[..., PLACE[name]].round(4).tolist()

    assert of("votes") == [[5.0, 3.0], [4.0, 3.0]]
    assert of("cosine") == [[0.5, 0.5], [0.5, 0.5]]
    assert of("genres asked for") == [[2.0, 1.0], [0.0, 0.0]]
    assert of("genres shared") == [[0.5, 0.0], [0.0, 0.0]]  # {Crime, Drama} against {Drama}
    assert of("people asked for") == [[0.0, 1.0], [0.0, 0.0]]
    assert of("people shared") == [[1.0, 0.0], [0.0, 0.0]]
    assert of("years apart") == [[2.0, 3.0], [1.0, 1.0]]  # decades
    assert not any(
        found[..., PLACE[name]].any() for name in ("decade asked for", "new asked for", "old asked for", "genres refused")
    )


def test_features_of_the_time_and_of_what_is_refused_by_hand() -> None:
    traits = traits_of([(["Crime", "Drama"], [], 5.0, 1989), (["Drama"], [], 4.0, 1990), (["Comedy"], [], 3.0, 2005)])
    wishes = [traits.wish("Seeker: a new one, no drama please"), traits.wish("Seeker: something old from the 80s")]
    nothing = np.zeros((2, 3), np.float32)
    found = features(traits, [[], []], wishes, np.array([[0, 1, 2]] * 2), nothing, nothing, nothing)

    def of(name: str) -> list[list[float]]:
        return found[..., PLACE[name]].astype(float).round(4).tolist()

    assert of("genres refused") == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert of("genres asked for") == [[0.0, 0.0, 0.0]] * 2
    assert of("new asked for") == [[-1.1, -1.0, 0.5], [0.0, 0.0, 0.0]]  # decades since 2000
    assert of("old asked for") == [[0.0, 0.0, 0.0], [-1.1, -1.0, 0.5]]
    assert of("decade asked for") == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_no_more_people_are_counted_than_the_most() -> None:
    cast = [f"Actor Number{n}" for n in "abcdef"]
    traits = traits_of([(["Drama"], cast, 5.0, 1995), (["Drama"], cast, 5.0, 1999)])
    nothing = np.zeros((1, 1), np.float32)
    found = features(traits, [[0]], [Wish()], np.array([[1]]), nothing, nothing, nothing)
    assert found[0, 0, PLACE["people shared"]] == MOST_COUNTED


@pytest.mark.parametrize("factor", [1.0, 0.4])
def test_the_weights_are_those_by_which_the_wanted_were_drawn(factor: float) -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(4000, 30)) * 2
    found = generator.normal(size=(4000, 30, 4)) * np.array([1.0, 10.0, 0.0, 1.0])
    utility = factor * (scores + found @ np.array([1.5, 0.1, 0.0, 0.0])) + generator.gumbel(size=scores.shape)
    wanted = utility.argmax(axis=1)[:, None] == np.arange(30)
    weights = fit_weights(scores, found, wanted)
    # the penalty shrinks them a little, and what never differs gets none
    assert 1.0 < weights[0] < 1.55
    assert 0.06 < weights[1] < 0.105
    assert weights[2] == 0
    assert abs(weights[3]) < 0.1


def test_nothing_wanted_and_a_score_that_misleads_give_no_weights() -> None:
    generator = np.random.default_rng(1)
    scores, found = generator.normal(size=(200, 10)), generator.normal(size=(200, 10, 2))
    assert not fit_weights(scores, found, np.zeros((200, 10), bool)).any()
    assert not fit_weights(scores, found, scores.argmin(axis=1)[:, None] == np.arange(10)).any()


def test_a_weight_of_the_wrong_sign_is_left_out_and_the_rest_fitted_without_it() -> None:
    generator = np.random.default_rng(0)
    scores, found = generator.normal(size=(2000, 20)), generator.normal(size=(2000, 20, 3))
    utility = scores + found @ np.array([1.0, -0.5, 0.5]) + generator.gumbel(size=scores.shape)
    wanted = utility.argmax(axis=1)[:, None] == np.arange(20)
    free, signed = (fit_weights(scores, found, wanted, signs) for signs in (None, [1, 1, 0]))
    assert free[0] > 0 > free[1]
    assert signed[1] == 0
    np.testing.assert_allclose(signed[[0, 2]], fit_weights(scores, found[..., [0, 2]], wanted), rtol=1e-4)


def with_traits(rescored: int = 8) -> tuple[Retriever, Catalogue, list[str], Queries]:
    """The made-up catalogue with genres, people, votes and years, a retriever that weighs all features, and queries that wish something."""
    retriever, catalogue, known, queries = made_up()
    generator = np.random.default_rng(2)
    rows = [
        (
            generator.choice(["Drama", "Comedy", "Crime"], 2, replace=False).tolist(),
            [f"Person {letter}" for letter in generator.choice(list("abcdef"), 2, replace=False)],
            float(generator.uniform(0, 6)),
            int(generator.integers(1950, 2020)),
        )
        for _ in catalogue.movie_ids
    ]
    traits = traits_of(rows)
    richer = Catalogue(catalogue.movie_ids, catalogue.embeddings, traits.facts, traits)
    bigger = Retriever(NetworkConfig(**{**retriever.config.as_dict(), "rescored": rescored})).eval()
    bigger.load_state_dict(retriever.state_dict())
    bigger.named = torch.rand(len(known))
    bigger.feature_weights = torch.linspace(-1, 1.5, len(FEATURES))
    wishes = tuple(traits.wish(f"Seeker: a comedy with person {letter}") for letter in "abcz")
    return bigger, richer, known, replace(queries, wishes=wishes)


def test_search_adds_the_features_to_the_best_and_puts_them_in_order() -> None:
    retriever, catalogue, known, queries = with_traits()
    index = build_index(retriever, catalogue, known)
    plain = build_index(retriever, replace(catalogue, traits=None), known)
    rows, scores = search(plain, queries, 20)
    added = features_of(index, queries, rows[:, :8]) @ retriever.feature_weights.numpy()
    expected = scores.copy()
    expected[:, :8] += added
    order = np.argsort(-expected[:, :8], axis=1, kind="stable")
    expected[:, :8] = np.take_along_axis(expected[:, :8], order, axis=1)
    wanted = np.hstack([np.take_along_axis(rows[:, :8], order, axis=1), rows[:, 8:]])
    assert (wanted[:, :8] != rows[:, :8]).any()
    long, values = search(index, queries, 20)
    np.testing.assert_array_equal(long, wanted)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    short, _ = search(index, queries, 3)
    np.testing.assert_array_equal(short, long[:, :3])


@pytest.mark.parametrize("allowed", [None, [2, 4, 5, 30, 31]])
def test_where_fewer_movies_are_left_than_are_rescored_lists_end_as_ever(allowed: list[int] | None) -> None:
    retriever, catalogue, known, queries = with_traits(rescored=500)
    found, scores = search(build_index(retriever, catalogue, known, allowed), queries, 60)
    plain, _ = search(build_index(retriever, replace(catalogue, traits=None), known, allowed), queries, 60)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(plain, axis=1))
    assert (np.isinf(scores) == (found < 0)).all()
    assert (np.diff(np.where(found < 0, -1e9, scores), axis=1) <= 0).all()


def test_pools_score_as_a_search_that_rescores() -> None:
    retriever, catalogue, known, queries = with_traits()
    found, scores = search(build_index(retriever, catalogue, known), queries, 8)
    mine = Pools(retriever, catalogue, known, queries, found).all_scores(retriever).numpy()
    np.testing.assert_allclose(mine, scores, rtol=1e-4, atol=1e-4)


def test_weights_are_kept_only_where_they_help_dialogues_that_they_were_not_fitted_on() -> None:
    """A hundred dialogues whose seekers all get the best movie with the people they asked for; then the best of all."""
    retriever, catalogue, known, queries = with_traits(rescored=50)
    retriever.feature_weights.zero_()
    traits = catalogue.traits
    assert traits is not None
    letters = ["abcdef"[number % 6] for number in range(100)]
    many = queries.some([number % 4 for number in range(100)])
    many = replace(many, wishes=tuple(traits.wish(f"Seeker: person {letter}") for letter in letters))
    best_first, _ = search(build_index(retriever, catalogue, known), many, 50)
    with_them = [
        next(row for row in rows.tolist() if row >= 0 and wish.people & set(traits.people[[row]].indices.tolist()))
        for wish, rows in zip(many.wishes, best_first, strict=True)
    ]
    for wanted, kept in ((with_them, True), (best_first[:, 0].tolist(), False)):
        cases = CASES.frame(
            {
                "case_id": str(n),
                "dialogue_id": str(n),
                "targets": [catalogue.movie_ids[row]],
                "disliked": [],
                "unlinked_targets": 0,
            }
            for n, row in enumerate(wanted)
        )
        told: list[str] = []
        retriever.feature_weights = torch.zeros(len(FEATURES))
        Fitting(catalogue, known, many, cases, told.append).features(retriever)
        assert bool(retriever.feature_weights.any()) is kept, told
        if kept:
            assert retriever.feature_weights[PLACE["people asked for"]] > 1


def saved(folder: Path, retriever: Retriever, known: list[str]) -> Path:
    """A version on disk."""
    save(folder, retriever, Version("round_0", "redial", "f", None, retriever.config.as_dict(), {}, known, {}))
    return folder


def rewritten(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Other weights in a version's folder, on record as the right ones."""
    save_file(weights, folder / WEIGHTS)
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"weights_sha256": sha256_of(folder / WEIGHTS)}))


def test_a_version_of_before_there_were_features_serves_as_it_did(tmp_path: Path) -> None:
    retriever, catalogue, known, queries = with_traits()
    folder = saved(tmp_path / "round_0", retriever, known)
    weights = load_file(folder / WEIGHTS)
    rewritten(folder, {name: value for name, value in weights.items() if name not in ("named", "feature_weights")})
    older, _ = load(folder)
    found, scores = search(build_index(older, catalogue, known), queries, 10)
    plain, values = search(build_index(retriever, replace(catalogue, traits=None), known), queries, 10)
    np.testing.assert_array_equal(found, plain)
    np.testing.assert_array_equal(scores, values)


def test_features_that_a_version_did_not_know_change_nothing_in_it(tmp_path: Path) -> None:
    retriever, catalogue, known, queries = with_traits()
    folder = saved(tmp_path / "round_0", retriever, known)
    weights = load_file(folder / WEIGHTS)
    rewritten(folder, weights | {"feature_weights": weights["feature_weights"][:10].clone()})
    older, _ = load(folder)
    retriever.feature_weights[10:] = 0
    for mine, expected in zip(
        *(search(build_index(one, catalogue, known), queries, 10) for one in (older, retriever)), strict=True
    ):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize("change", ["without a part", "with a part of another network"])
def test_weights_that_do_not_fit_are_told_with_the_part(tmp_path: Path, change: str) -> None:
    retriever, _, known, _ = with_traits()
    folder = saved(tmp_path / "round_0", retriever, known)
    weights = load_file(folder / WEIGHTS)
    if change == "without a part":
        weights.pop("start")
    else:
        weights["start.more"] = torch.zeros(1)
    rewritten(folder, weights)
    with pytest.raises(RarError, match=r"cannot be loaded \(it does not fit the network: start"):
        load(folder)
