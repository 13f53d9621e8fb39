"""Who publishes which raw files, where, and on which terms: the layout that every mirror has, too.

Facts only; how they are used is sources.py. docs/sources.md says the same in prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LayoutFile:
    """One file of the layout, or all files that a pattern names."""

    name: str  # inside the publisher's folder, without .gz; * stands for any run of characters but /
    required: bool = True
    address: str | None = None  # the publisher's own; {name} is replaced; a .zip holds the file as a member
    known: tuple[str, ...] = ()  # names that a pattern is tried under where a folder cannot be listed
    live: bool = False  # no file there: `address` is that of an API, whose answers harvest/ puts together

    def matches(self, name: str) -> bool:
        """Whether a name inside the publisher's folder, without .gz, is this file or one of these files."""
        return re.fullmatch("[^/]*".join(map(re.escape, self.name.split("*"))), name) is not None


@dataclass(frozen=True)
class Publisher:
    """Who publishes a folder of the layout, and on which terms."""

    name: str  # the folder
    title: str
    files: tuple[LayoutFile, ...]
    terms: str
    citation: str
    optional: bool = True  # a mirror may lack the whole folder
    unpolled: str = ""  # why `upstream` fetches nothing
    key: str = ""  # environment variable that holds the key without which its API does not answer


def _files(names: str, address: str | None = None, required: bool = True) -> tuple[LayoutFile, ...]:
    return tuple(LayoutFile(name, required, address) for name in names.split())


_PUBLISHERS = (
    Publisher(
        "imdb",
        "IMDb non-commercial bulk files",
        _files(
            "title.basics.tsv title.ratings.tsv title.crew.tsv title.principals.tsv name.basics.tsv",
            "https://datasets.imdbws.com/{name}.gz",
        )
        # large, and no stage reads them yet: taken from mirrors only
        + _files("title.akas.tsv title.episode.tsv", required=False),
        "personal and non-commercial use only, no republishing; https://developer.imdb.com/non-commercial-datasets/",
        "Information courtesy of IMDb (https://www.imdb.com). Used with permission.",
        optional=False,
    ),
    Publisher(
        "movielens",
        "MovieLens 32M",
        _files("ml-32m/movies.csv ml-32m/links.csv", "https://files.grouplens.org/datasets/movielens/ml-32m.zip"),
        "research use with citation, commercial use only with permission; "
        "https://files.grouplens.org/datasets/movielens/ml-32m-README.html",
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS 5, 4: 19:1-19:19.",
    ),
    Publisher(
        "wikipedia",
        "Wikipedia, lists of American films and articles on films",
        (
            LayoutFile(
                "movies-*s.json",
                required=False,
                address="https://raw.githubusercontent.com/prust/wikipedia-movie-data/master/{name}",
                known=tuple(f"movies-{decade}s.json" for decade in range(1900, 2030, 10)),
            ),
            LayoutFile(
                "articles.jsonl",
                required=False,
                address="https://en.wikipedia.org/api/rest_v1/page/{part}/{title}",
                live=True,
            ),
        ),
        "text CC BY-SA, credit Wikipedia's authors and share alike; https://en.wikipedia.org/wiki/Wikipedia:Copyrights",
        "Wikipedia contributors; lists collected by Peter Rust, https://github.com/prust/wikipedia-movie-data",
    ),
    Publisher(
        "wikidata",
        "Wikidata, films with an IMDb id",
        (LayoutFile("films.jsonl", address="https://query.wikidata.org/sparql", live=True),),
        "CC0; https://www.wikidata.org/wiki/Wikidata:Licensing",
        "Wikidata contributors, https://www.wikidata.org",
    ),
    Publisher(
        "tmdb",
        "The Movie Database",
        (LayoutFile("movies.jsonl", address="https://api.themoviedb.org/3/movie/{id}?append_to_response=credits", live=True),),
        "non-commercial use with attribution; https://www.themoviedb.org/api-terms-of-use",
        "This product uses TMDB and the TMDB APIs but is not endorsed, certified, or otherwise approved by TMDB.",
        key="TMDB_API_KEY",
    ),
    Publisher(
        "omdb",
        "OMDb API",
        (LayoutFile("movies.jsonl", address="https://www.omdbapi.com/?i={id}&plot=full", live=True),),
        "CC BY-NC 4.0; https://www.omdbapi.com/legal.htm",
        "OMDb API, https://www.omdbapi.com",
        key="OMDB_API_KEY",
    ),
    Publisher(
        "streaming",
        "Catalogues of four streaming services",
        _files(
            "netflix_titles.csv disney_plus_titles.csv hulu_titles.csv amazon_prime_titles.csv",
            required=False,
        ),
        "terms of the place that your copy comes from",
        "Shivam Bansal, catalogues of Netflix, Disney+, Hulu and Amazon Prime Video, Kaggle, 2021.",
        unpolled="no publisher to poll: name a mirror",
    ),
    Publisher(
        "ggplot2movies",
        "IMDb snapshot of 2005 in the R package ggplot2movies",
        _files("movies.csv"),
        "GPL-3 package with data of IMDb, whose terms hold; https://cran.r-project.org/package=ggplot2movies",
        "Hadley Wickham. ggplot2movies: Movies Data. R package, CRAN, 2015.",
        unpolled="no publisher to poll: name a mirror",
    ),
    Publisher(
        "sequences",
        "MovieLens 1M as sequences",
        _files("ml-1m.tsv", required=False),  # user, tab, MovieLens ids in time order
        "research use with citation, commercial use only with permission; https://files.grouplens.org/datasets/movielens/ml-1m-README.txt",
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS 5, 4: 19:1-19:19.",
        unpolled="no file of this layout to poll: name a mirror",
    ),
    Publisher(
        "redial",
        "ReDial",
        _files(
            "train_data.jsonl test_data.jsonl movies_with_mentions.csv",
            "https://raw.githubusercontent.com/ReDialData/website/data/redial_dataset.zip",
        )
        + _files("movie_sequences.jsonl", required=False),
        "CC BY 4.0; https://redialdata.github.io/website/",
        "Raymond Li, Samira Kahou, Hannes Schulz, Vincent Michalski, Laurent Charlin, Chris Pal. 2018. "
        "Towards Deep Conversational Recommendations. NeurIPS 31.",
        optional=False,
    ),
    Publisher(
        "inspired",
        "INSPIRED",
        _files(
            "train.tsv dev.tsv test.tsv", "https://raw.githubusercontent.com/sweetpeach/Inspired/master/data/dialog_data/{name}"
        ),
        "research use, not to be republished; https://github.com/sweetpeach/Inspired",
        "Shirley Anugrah Hayati, Dongyeop Kang, Qingxiaoyang Zhu, Weiyan Shi, Zhou Yu. 2020. "
        "INSPIRED: Toward Sociable Recommendation Dialog Systems. EMNLP, 8142-8152.",
        optional=False,
    ),
    Publisher(
        "reddit",
        "Reddit-Movie",
        (
            LayoutFile("reddit_v2_sample*.jsonl", known=("reddit_v2_sample_100.jsonl",)),
            *_files("reddit_v2_gt_catalog.json entity2id.json item_ids.json", required=False),
        ),
        "research use, not to be republished; https://github.com/AaronHeee/LLMs-as-Zero-Shot-Conversational-RecSys",
        "Zhankui He, Zhouhang Xie, Rahul Jha, Harald Steck, Dawen Liang, Yesu Feng, Bodhisattwa Majumder, Nathan Kallus, "
        "Julian McAuley. 2023. Large Language Models as Zero-Shot Conversational Recommenders. CIKM.",
        unpolled="no file of this layout to poll: name a mirror",
    ),
)

PUBLISHERS: Mapping[str, Publisher] = {publisher.name: publisher for publisher in _PUBLISHERS}

CHECKSUMS: Mapping[str, str] = {
    # archives that their publishers do not change: address and SHA-256
    "https://raw.githubusercontent.com/ReDialData/website/data/redial_dataset.zip": (
        "b48756681ec6f84e0af36979c5e9baa21ea8d9e7036b8764ea9b787bb0baf69b"
    ),
}

TMDB_EXPORT = "https://files.tmdb.org/p/exports/movie_ids_{date}.json.gz"  # one a day, kept for three months; date as 12_31_2026

MOST_A_SECOND: Mapping[str, float] = {
    # hosts that want fewer requests a second than the setting allows by default or by hand
    "query.wikidata.org": 1.0,  # a query may cost it many seconds, and it counts them
    "en.wikipedia.org": 10.0,
    "api.themoviedb.org": 20.0,  # throttles at about 40
    "www.omdbapi.com": 1.5,
}
