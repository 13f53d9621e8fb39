from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.corpus.link import Linker, build_title_index, main
from rar_pipeline.tables import MENTIONS, MOVIES, TITLES

FILMS = [
    ("alien", "Alien", None, 1979, 900_000),
    ("aliens", "Aliens", None, 1986, 700_000),
    ("alien3", "Alien³", "Alien 3", 1992, 300_000),
    ("signs", "Signs", None, 2002, 340_000),
    ("avatar", "Avatar", None, 2009, 1_200_000),
    ("avatar-small", "Avatar", None, 2004, 600),
    ("toy1", "Toy Story", None, 1995, 900_000),
    ("toy3", "Toy Story 3", None, 2010, 800_000),
    ("sw4", "Star Wars: Episode IV - A New Hope", "Star Wars", 1977, 1_300_000),
    ("sw5", "Star Wars: Episode V - The Empire Strikes Back", None, 1980, 1_200_000),
    ("pp05", "Pride & Prejudice", None, 2005, 280_000),
    ("pp40", "Pride and Prejudice", None, 1940, 8_000),
    ("psycho60", "Psycho", None, 1960, 650_000),
    ("psycho98", "Psycho", None, 1998, 50_000),
    ("it17", "It", None, 2017, 500_000),
    ("amelie", "Amelie", "Le fabuleux destin d'Amélie Poulain", 2001, 700_000),
    ("rocky2", "Rocky II", None, 1979, 200_000),
    ("spider", "Spider-Man", None, 2002, 700_000),
    ("seven", "Se7en", None, 1995, 1_500_000),
    ("hanks", "Tom Hanks", None, 1999, 40),
    ("pearl", "Captain America: The First Avenger", None, 2011, 800_000),
    ("ca90", "Captain America", None, 1990, 14_000),
    ("whyhim", "Why Him?", None, 2016, 100_000),
    ("smith", "Mr. & Mrs. Smith", None, 2005, 450_000),
    ("hero1", "Hero", None, 2000, 50),
    ("hero2", "Hero", None, 2000, 60),
    ("insid10", "Insidious", None, 2010, 250_000),
    ("insid11", "Insidious", None, 2011, None),
    ("godf2", "The Godfather Part II", None, 1974, 1_100_000),
    ("para", "Paranormal Activity", None, 2009, 200_000),
    ("shaw", "The Shawshank Redemption", None, 1994, 2_000_000),
]
ALIASES = pl.DataFrame({"movie_id": ["seven"], "title": ["Seven"]})


@pytest.fixture(scope="module")
def titles() -> pl.DataFrame:
    rows = [dict(zip(("movie_id", "title", "original_title", "year", "votes"), film, strict=True)) for film in FILMS]
    return build_title_index(MOVIES.frame(rows), ALIASES)


@pytest.fixture(scope="module")
def linker(titles: pl.DataFrame) -> Linker:
    return Linker(titles)


def test_the_index_is_a_table_with_one_row_a_key_and_movie(titles: pl.DataFrame) -> None:
    assert titles.schema == TITLES.schema
    assert titles.select("key", "movie_id").is_unique().all()
    assert set(titles["variant"]) >= {"title", "original_title", "alias", "loose", "subtitle"}


@pytest.mark.parametrize(
    ("mention", "movie"),
    [
        ("Alien (1979)", "alien"),
        ("Signs  (2001)", "signs"),
        ("the first Alien", "alien"),
        ("Alien 1979", "alien"),
        ("the movie Alien", "alien"),
        ("Avatar ", "avatar"),
        ("Avatar (2004)", "avatar-small"),
        ("Toy Story 3", "toy3"),
        ("Toy Story", "toy1"),
        ("Star Wars", "sw4"),
        ("Pride and Prejudice", "pp05"),
        ("Pride and Prejudice (1940)", "pp40"),
        ("Psycho (1998)", "psycho98"),
        ("Amélie (2001)", "amelie"),
        ("Rocky 2", "rocky2"),
        ("Spiderman (2002)", "spider"),
        ("A Spider Man (2002)", "spider"),
        ("Seven (1995)", "seven"),
        ("Why Him%3F (2016)", "whyhim"),
        ("Mr. &amp; Mrs. Smith (2005)", "smith"),
        ("Insidious (2011)", "insid10"),
        ("Godfather Part 2 (1974)", "godf2"),
        ("Paranormal Activity (2007)", "para"),
        ("The Shawshank Redemtion (1994)", "shaw"),
        ("Shawshank Redemption, The", "shaw"),
    ],
)
def test_a_mention_is_linked(linker: Linker, mention: str, movie: str) -> None:
    link = linker.link(mention)
    assert link.movie_id == movie
    assert 0.5 < link.score <= 1
    assert link.reason


@pytest.mark.parametrize(
    "mention",
    [
        "Alien 2",
        "Alien 4 (1997)",
        "Toy Story (2010)",
        "Toy Story 4",
        "Tom Hanks",
        "Captain America",
        "Hero (2000)",
        "It (1990)",
        "Psycho (1975)",
        "Harry Potter",
        "",
        " (2015)",
        "???",
    ],
)
def test_what_is_not_safe_stays_unlinked_and_says_why(linker: Linker, mention: str) -> None:
    link = linker.link(mention)
    assert (link.movie_id, link.score) == (None, 0.0)
    assert link.reason


def test_an_id_or_a_year_beside_the_text_is_used(linker: Linker) -> None:
    assert linker.link("whatever", imdb_id="alien").movie_id == "alien"
    assert linker.link("Psycho", year=1998).movie_id == "psycho98"


def test_many_mentions_are_linked_as_each_alone_and_keep_their_order(linker: Linker) -> None:
    mentions = ["Toy Story 3", "Nobody", "Alien (1979)", "Toy Story 3"]
    many = linker.link_many(mentions)
    assert many["text"].to_list() == mentions
    assert list(many.select("movie_id", "score", "reason").iter_rows()) == [tuple(linker.link(mention)) for mention in mentions]
    table = MENTIONS.frame(
        [{"dialogue_id": "1", "position": place, "text": text} for place, text in enumerate([*mentions, None])]
    )
    linked = linker.link_mentions(table)
    assert linked.schema == MENTIONS.schema
    assert linked["movie_id"].to_list() == ["toy3", None, "alien", "toy3", None]
    assert linked["position"].to_list() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("title", "year", "movie"),
    [
        ("The Shawshank Redemption", 1994, "shaw"),
        ("Shawshank Redemption", 1996, "shaw"),
        ("Shawshank Redemption", 1997, None),
        ("The Shawshenk Redemptoin", 1994, "shaw"),
        ("Toy Story 3", 2010, "toy3"),
        ("Toy Story 3", 1995, None),
        ("Toy Story 2", 1995, None),
        ("Alien", 1986, None),
        ("A Film That Nobody Made", 1999, None),
        ("Avatar (2009)", None, "avatar"),
        ("Spiderman", 2002, "spider"),
    ],
)
def test_generated_titles_are_grounded_strictly(linker: Linker, title: str, year: int | None, movie: str | None) -> None:
    assert linker.match_generated(title, year) == movie


def test_the_command_writes_a_line_a_mention(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"movie_id": "tt1", "imdb_id": "tt1", "title": "Alien", "year": 1979, "votes": 900_000}]
    MOVIES.frame(rows).write_parquet(tmp_path / "movies.parquet")
    (tmp_path / "mentions.txt").write_text("the first Alien\nNobody knows\n")
    assert main([str(tmp_path / "mentions.txt"), "--movies", str(tmp_path / "movies.parquet")]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["mention", "movie_id", "imdb_id", "title", "year", "score", "reason"]
    assert lines[1][:5] == ["the first Alien", "tt1", "tt1", "Alien", "1979"]
    assert lines[2][:6] == ["Nobody knows", "", "", "", "", "0.0"]


def test_the_command_names_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.txt"), "--movies", str(tmp_path / "absent.parquet")]) == 2
    assert "absent.txt" in capsys.readouterr().err


def test_an_empty_corpus_links_nothing() -> None:
    assert Linker(build_title_index(MOVIES.empty())).link("Alien (1979)").movie_id is None


def test_an_id_of_a_list_means_what_the_list_says(titles: pl.DataFrame) -> None:
    linker = Linker(titles, {"111776": "Toy Story 3  (2010)", "7": "Nothing of that name (1950)"})
    assert linker.link("@111776")[:2] == ("toy3", 1.0)
    assert linker.link("@111776").reason.startswith("listed name")
    assert linker.link(" @7 ").movie_id is None
    assert linker.link("@8").reason == "id of a list that is not known"


def test_the_command_takes_the_list_of_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MOVIES.frame([{"movie_id": "tt1", "imdb_id": "tt1", "title": "Alien", "year": 1979, "votes": 9}]).write_parquet(
        tmp_path / "movies.parquet"
    )
    (tmp_path / "mentions.txt").write_text("@12\n")
    (tmp_path / "names.csv").write_text("movieId,movieName,nbMentions\n12,Alien  (1979),3\n")
    asked = [str(tmp_path / "mentions.txt"), "--movies", str(tmp_path / "movies.parquet")]
    assert main([*asked, "--names", str(tmp_path / "names.csv")]) == 0
    assert "@12\ttt1\ttt1\tAlien\t1979" in capsys.readouterr().out
    (tmp_path / "names.csv").write_text("id,name\n12,Alien\n")
    assert main([*asked, "--names", str(tmp_path / "names.csv")]) == 2
    assert "names.csv" in capsys.readouterr().err
