"""A champion whose order is fused lists the candidates so, whatever mode the LLM ranks in."""

from dataclasses import replace

from rar_pipeline.service.champion import Champion
from rar_pipeline.service.talk import Said, Talk


def test_the_weight_on_record_decides_between_the_scores_and_the_llm(champion: Champion) -> None:
    found = champion.recommend(Talk(turns=[Said(speaker="seeker", text="Something with a detective in the rain")]))
    own = tuple(card.movie_id for card in found.candidates)
    assert len(found.scores) == len(own) and found.scores == sorted(found.scores, reverse=True)
    other = own[::-1]
    assert champion.ordered(found, other) == other, "the LLM's order alone, unless the record says otherwise"
    assert replace(champion, llm_weight=0.05).ordered(found, other)[0] == own[0]
    assert replace(champion, llm_weight=0.95).ordered(found, other)[0] == other[0]
    assert set(replace(champion, llm_weight=0.5).ordered(found, other[:3])) == set(own), "what it left out is not lost"
