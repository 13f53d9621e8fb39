"""Recommend books instead of movies: made-up books and conversations, read into the pipeline's two tables, trained, and talked to.

    python examples/books/books.py                      # trains in about a minute on two cores
    rar --sources examples/books chat -d books          # the terminal; or serve, for the page in a browser

All books, people and words here are invented for this example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rar_pipeline.conversations.reading import Conversation, Named, Turn, merge_turns
from rar_pipeline.files import json_lines
from rar_pipeline.own_data import items_table, learn
from rar_pipeline.settings import Settings

HERE = Path(__file__).resolve().parent


def books() -> Iterator[Mapping[str, object]]:
    """What we know of books, in the columns of a movie: authors direct, blurbs are plots, readers vote."""
    for _, book in json_lines(HERE / "items.jsonl"):
        yield {
            "movie_id": book["id"],
            "title": book["title"],
            "year": book["year"],
            "genres": book["genres"],
            "directors": [book["author"]],
            "plot": book["blurb"],
            "votes": book["readers"],
        }


def conversations() -> Iterator[Conversation]:
    """Conversations in which a turn says which books it names: as people write them, since linking is the pipeline's."""
    for _, talk in json_lines(HERE / "conversations.jsonl"):
        turns = [
            Turn(said["speaker"], said["text"], [Named(book, liked=said.get("liked")) for book in said["books"]])
            for said in talk["turns"]
        ]
        yield Conversation(talk["id"], talk["split"], merge_turns(turns))


def settings(**changes: object) -> Settings:
    """A world of its own in the lake (its name is this folder's), and a small network for few data."""
    small = {"hidden": 32, "batch": 32, "learning_rate": 5e-3, "negatives": 32, "axes": 32}
    return Settings(sources=str(HERE), **(small | changes))  # type: ignore[arg-type]


def main(**changes: object) -> None:
    """Train, then ask."""
    from rar_pipeline.service.lake import open_champion
    from rar_pipeline.service.talk import Said, Talk

    chosen = settings(**changes)
    version = learn(chosen, "books", items_table(books()), conversations())
    print(f"validation R@10 {version.figures['recall_10']:.3f}, N@10 {version.figures['ndcg_10']:.3f}")
    champion, _ = open_champion(chosen, "books")
    wish = "Hello! I loved Murder at Quill House. Do you know another clever detective story?"
    found = champion.recommend(Talk(turns=[Said(text=wish)], movies=4))
    print(f"\n{wish}\n")
    for card in found.candidates:
        print(f"  {card.title} ({card.year}), {card.people[0]}: {card.why[0].text}")


if __name__ == "__main__":
    main()
