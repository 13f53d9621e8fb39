"""The tables that stages hand to each other: name, columns, types and meaning, in one place.

A stage returns frames; `Table.conform` checks them at the border. The UI, the data dictionary and the comments in `rar.duckdb`
are made from the same descriptions. No reading, no writing, no SQL here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from rar_pipeline.errors import RarError

DATASETS = ("redial", "inspired", "reddit")
CHAT = "chat"  # the data set that the service keeps: conversations of people who rated what they were shown
ALL = "all"  # in place of a data set: what was learnt from all of them
SPLITS = ("train", "validation", "test")

STR: pl.DataType = pl.String()
INT: pl.DataType = pl.Int64()
FLOAT = pl.Float64()
BOOL = pl.Boolean()
STRS = pl.List(pl.String())
INTS = pl.List(pl.Int64())


@dataclass(frozen=True)
class Column:
    """One column: its name, polars type, and what it means."""

    name: str
    dtype: pl.DataType
    description: str


@dataclass(frozen=True)
class Table:
    """A boundary table: `stage/name` in the lake, one parquet file (a file a part where it is partitioned)."""

    stage: str
    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column names and polars types, in order."""
        return {column.name: column.dtype for column in self.columns}

    def empty(self) -> pl.DataFrame:
        """A frame of this table without rows."""
        return pl.DataFrame(schema=self.schema)

    def frame(self, rows: Iterable[dict[str, object]]) -> pl.DataFrame:
        """Rows as a frame of this table; columns that a row lacks are null."""
        return pl.DataFrame(list(rows), schema=self.schema, orient="row")

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with exactly this table's columns, in order.

        Raises RarError where a column is missing or has another type.
        """
        for column in self.columns:
            if column.name not in frame.columns:
                raise RarError(f"table {self.stage}/{self.name}: column {column.name!r} is missing")
            found = frame.schema[column.name]
            if not _alike(found, column.dtype):
                raise RarError(f"table {self.stage}/{self.name}: column {column.name!r} is {found}, expected {column.dtype}")
        return frame.select(list(self.schema))


def _alike(found: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether two types are the same; vectors may be of any width, which is the encoder's."""
    if isinstance(found, pl.Array) and isinstance(wanted, pl.Array):
        return found.inner == wanted.inner
    return found == wanted


RAW_FILES = Table(
    "sources",
    "raw_files",
    "Every raw file that a run read: where it came from and its content hash.",
    (
        Column("publisher", STR, "Folder of the publisher's layout: imdb, movielens, redial, ..."),
        Column("file", STR, "Path inside the layout without .gz, for example imdb/title.basics.tsv"),
        Column("path", STR, "Where the file lies on this machine; it may end in .gz"),
        Column("bytes", INT, "Size of the file at `path`, in bytes"),
        Column("sha256", STR, "SHA-256 of the file at `path`, hexadecimal"),
        Column("origin", STR, "Address or folder that it came from"),
    ),
    key=("file",),
)

_MOVIE_FACTS = (
    Column("imdb_id", STR, "IMDb id, tt and at least seven digits"),
    Column("tmdb_id", INT, "TMDB id"),
    Column("movielens_id", INT, "MovieLens 32M movieId"),
    Column("wikidata_id", STR, "Wikidata item, for example Q1000394"),
    Column("title", STR, "Main title, HTML entities resolved"),
    Column("original_title", STR, "Title in the language of origin"),
    Column("year", INT, "Year of first release"),
    Column("kind", STR, "movie, tvMovie or video"),
    Column("genres", STRS, "Genres in the source's order"),
    Column("directors", STRS, "Names of directors"),
    Column("cast", STRS, "Names of leading cast, billing order, at most ten"),
    Column("plot", STR, "Plot summary or lead of the article, plain text"),
    Column("runtime", INT, "Minutes"),
    Column("rating", FLOAT, "IMDb average rating, 1 to 10"),
    Column("votes", INT, "IMDb votes behind `rating`"),
)

SOURCE_MOVIES = Table(
    "corpus",
    "source_movies",
    "What one source says of its movies, in one shape for all sources; the input of the merge.",
    (
        Column("source", STR, "Name of the source: imdb, movielens, wikipedia, wikidata, tmdb, omdb, streaming, ggplot2movies"),
        Column("source_id", STR, "The record's id inside the source, unique there"),
        *_MOVIE_FACTS,
    ),
    key=("source", "source_id"),
)

MOVIES = Table(
    "corpus",
    "movies",
    "The corpus: one row a movie, merged from all sources.",
    (
        Column("movie_id", STR, "The corpus' own id: the IMDb id where there is one, else <source>:<source id>"),
        *_MOVIE_FACTS,
        Column("plot_source", STR, "Source that `plot` was taken from"),
        Column("sources", STRS, "Sources that know the movie"),
    ),
    key=("movie_id",),
)

PROVENANCE = Table(
    "corpus",
    "provenance",
    "Where every field of every movie came from, and what was overruled.",
    (
        Column("movie_id", STR, "Movie of the corpus"),
        Column("field", STR, "Column of `movies` that has a value: title, year, plot, ..."),
        Column("source", STR, "Source that the value was taken from"),
        Column("source_id", STR, "The record's id inside that source"),
        Column(
            "overruled", STRS, "Other values that sources gave, each as `source: value`, long ones cut; empty where all agree"
        ),
    ),
    key=("movie_id", "field"),
)

PLACEMENTS = Table(
    "corpus",
    "placements",
    "Which movie every record of every source was found to be, how, and why it was left out, if it was.",
    (
        Column("source", STR, "Name of the source"),
        Column("source_id", STR, "The record's id inside the source"),
        Column("movie_id", STR, "Movie of the corpus; null where the record was left out"),
        Column(
            "found_by",
            STR,
            "id; people (title, year and people); title (and year); similar title with a director or the running time; ambiguous (one of several: "
            "only counted as a source); new (no other record is this movie)",
        ),
        Column("left_out", STR, "Why the record is in no movie; null where it is in one"),
    ),
    key=("source", "source_id"),
)

CONFLICTS = Table(
    "corpus",
    "conflicts",
    "Where sources contradict each other, for a person to read.",
    (
        Column("movie_id", STR, "Movie of the corpus that the record was merged into, or null"),
        Column("source", STR, "Source of the record that disagrees"),
        Column("source_id", STR, "Its id inside the source"),
        Column("field", STR, "What is disputed: imdb_id, tmdb_id, year, ..."),
        Column("kept", STR, "Value that the corpus keeps"),
        Column("overruled", STR, "Value that it overruled"),
    ),
    key=("source", "source_id", "field"),
)

ALIASES = Table(
    "corpus",
    "aliases",
    "Titles that sources use for a movie and that are neither its title nor its original title.",
    (
        Column("movie_id", STR, "Movie of the corpus"),
        Column("title", STR, "Title as the source writes it"),
    ),
    key=("movie_id", "title"),
)

TITLES = Table(
    "corpus",
    "title_index",
    "Every normalised title under which a movie can be looked up.",
    (
        Column("key", STR, "Normalised title: lower case, no accents, articles, punctuation"),
        Column("movie_id", STR, "Movie of the corpus"),
        Column("title", STR, "The movie's main title as it is shown"),
        Column("year", INT, "Year of the movie"),
        Column("variant", STR, "Where the key comes from: title, original_title, subtitle, ..."),
        Column("votes", INT, "IMDb votes, 0 where unknown: settles ties"),
    ),
    key=("key", "movie_id"),
)

EMBEDDING_WIDTH = 384

ITEM_EMBEDDINGS = Table(
    "corpus",
    "item_embeddings",
    "One frozen text embedding a movie, in the order of movie_id.",
    (
        Column("movie_id", STR, "Movie of the corpus"),
        Column("text_hash", STR, "Hash of the text and the encoder that the vector was made from"),
        Column("embedding", pl.Array(pl.Float16(), EMBEDDING_WIDTH), "Unit-length text embedding"),
    ),
    key=("movie_id",),
)

DIALOGUES = Table(
    "conversations",
    "dialogues",
    "Turns of all conversations; consecutive messages of one speaker are one turn.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "train, validation or test"),
        Column("dialogue_id", STR, "The publisher's id of the conversation"),
        Column("turn", INT, "Position in the conversation, from 0"),
        Column("speaker", STR, "seeker or recommender"),
        Column("text", STR, "What was said; markers of movies replaced by their listed names"),
    ),
    key=("dialogue_id", "turn"),
)

RATING_SEQUENCES = Table(
    "retriever",
    "rating_sequences",
    "Movies that people rated, in the order of time: further supervision for the recurrence.",
    (
        Column("user", INT, "Number of a user, from 0 in the order of the file"),
        Column("position", INT, "Order of the user's ratings, from 0; gaps where a movie is not in the corpus"),
        Column("movie_id", STR, "Movie of the corpus"),
    ),
    key=("user", "position"),
)

MENTIONS = Table(
    "conversations",
    "mentions",
    "Every movie that a turn mentions, linked to the corpus where that is safe.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "train, validation or test"),
        Column("dialogue_id", STR, "The publisher's id of the conversation"),
        Column("turn", INT, "Turn that mentions it; for sequences without text, the position"),
        Column("position", INT, "Order inside the conversation, from 0"),
        Column("speaker", STR, "seeker, recommender, or unknown where only the order of movies is published"),
        Column("text", STR, "The movie's name as the data set gives it"),
        Column("source_id", STR, "The data set's id of the movie, where it has one"),
        Column("liked", INT, "1 liked, 0 disliked, null not said"),
        Column("movie_id", STR, "Movie of the corpus; null where no link is safe"),
        Column("score", FLOAT, "Confidence of the link, 0 to 1"),
        Column("reason", STR, "Why it was linked so, or why not"),
    ),
    key=("dialogue_id", "position"),
)

CASES = Table(
    "conversations",
    "cases",
    "Questions with known answers: a conversation up to a turn, and the new movies that the turn mentions.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "train, validation or test"),
        Column("case_id", STR, "dialogue_id and turn"),
        Column("dialogue_id", STR, "The publisher's id of the conversation"),
        Column("turn", INT, "Turn to be answered"),
        Column("origin", STR, "dialogue: a recommender's turn; training only: seeker, or sequence (no text is published)"),
        Column("context", STR, "Earlier turns, one a line, `Seeker:` or `Recommender:` first; empty for sequences"),
        Column("history", STRS, "movie_ids mentioned before, in order of first mention"),
        Column("targets", STRS, "movie_ids that this turn mentions for the first time"),
        Column(
            "disliked", STRS, "targets that the seeker disliked by their own form: scored like others, never taught as positives"
        ),
        Column("unlinked_targets", INT, "New mentions of this turn without a movie_id; counted as misses"),
    ),
    key=("case_id",),
)

JUDGE_CHECK = Table(
    "preference",
    "judge_check",
    "What the judge made of round 0's candidates on validation cases, before it is asked to teach.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("case_id", STR, "Validation case with a target among the retriever's candidates"),
        Column("dialogue_id", STR, "Conversation: the unit of the bootstrap"),
        Column("shown", STR, "Order in which the candidates stood in the prompt: retriever or shuffled"),
        Column("candidates", STRS, "movie_ids in the order in which they were shown"),
        Column("scores", pl.List(FLOAT), "The retriever's scores of `candidates`, logits"),
        Column("targets", STRS, "movie_ids of the case's targets"),
        Column("status", STR, "answered, failed or unparsed"),
        Column("mode", STR, "generate, label or likelihood"),
        Column("model", STR, "Model that answered"),
        Column("prompt_hash", STR, "Hash of the prompts of this question"),
        Column("raw_answer", STR, "The model's answer as it came, or why it failed"),
        Column("ranking", STRS, "movie_ids as the model ranked them"),
        Column("retriever", FLOAT, "NDCG@10 of the retriever's order"),
        Column("chance", FLOAT, "NDCG@10 to be expected of a random order"),
        Column(
            "judge",
            FLOAT,
            "NDCG@10 of the judge's order, what it left out behind in the retriever's; null where it did not answer",
        ),
        Column(
            "weight", FLOAT, "Weight of the judge in `fused`, fitted on other conversations; null where the order was shuffled"
        ),
        Column("fused", FLOAT, "NDCG@10 of the judge's order fused with the retriever's scores"),
        Column("prompt_tokens", INT, "Tokens sent"),
        Column("answer_tokens", INT, "Tokens received"),
        Column("seconds", FLOAT, "Wall-clock seconds of the call; of the first call where the answer was cached"),
        Column(
            "cost",
            FLOAT,
            "Money for the call in the currency of the prices, 0 where none are set; of the first call where it was cached",
        ),
    ),
    key=("case_id", "shown"),
)

FEEDBACK = Table(
    "preference",
    "feedback",
    "Candidate sets of a round and what the judge made of them.",
    (
        Column("case_id", STR, "Training case"),
        Column("set_id", INT, "Number of the set inside the case, from 0"),
        Column("candidates", STRS, "movie_ids as sampled, in the order in which they were shown"),
        Column("targets", STRS, "movie_ids that the answer should hold: the case's targets without what the seeker disliked"),
        Column("target_places", INTS, "Places of targets in `candidates`, from 0"),
        Column("forced", BOOL, "A target was put into the last place, where no set of the case had drawn one"),
        Column("status", STR, "answered, skipped (what it is worth is known without asking), failed or unparsed"),
        Column("mode", STR, "generate, label or likelihood"),
        Column("model", STR, "Model that answered"),
        Column("prompt_hash", STR, "Hash of the prompts of this set"),
        Column("raw_answer", STR, "The model's answer as it came"),
        Column("ranking", STRS, "movie_ids as the model ranked them"),
        Column(
            "reward", FLOAT, "NDCG@10 of `ranking` against `targets`; of a skipped set 1 where it alone holds a target, else 0"
        ),
        Column("prompt_tokens", INT, "Tokens sent"),
        Column("answer_tokens", INT, "Tokens received"),
        Column("seconds", FLOAT, "Wall-clock seconds of the call; of the first call where the answer was cached"),
    ),
    key=("case_id", "set_id"),
)

PREFERENCES = Table(
    "preference",
    "preferences",
    "Pairs of candidate sets: the winner led to a better ranking than the loser.",
    (
        Column("case_id", STR, "Training case"),
        Column("winner", STRS, "movie_ids of the winning set, in sampling order"),
        Column("loser", STRS, "movie_ids of the losing set, in sampling order"),
        Column("winner_set", INT, "set_id of the winning set in the round's feedback"),
        Column("loser_set", INT, "set_id of the losing set"),
        Column("winner_reward", FLOAT, "Reward of the winning set"),
        Column("loser_reward", FLOAT, "Reward of the losing set"),
        Column("reason", STR, "judge (rewards differ) or target (only the winner holds a target)"),
    ),
    key=("case_id", "winner", "loser"),
)

JUDGE_EXPERIMENT = Table(
    "experiments",
    "judge_experiment",
    "What a preference round gains from a simulated judge of known competence, for every objective. No language model was asked.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("judge", STR, "SimulatedJudge: it knows the answer, and how much of it shows is set by hand"),
        Column("dial", FLOAT, "How strongly the judge sees the target and what resembles it, in units of its noise"),
        Column(
            "judge_lift",
            FLOAT,
            "Its competence: share by which its order of round 0's candidates beats round 0's in validation N@10",
        ),
        Column(
            "objective",
            STR,
            "round_0 (supervision alone), sft (the control: supervision goes on), dpo, odds, mult_dpo, pl_rloo, lambda_credit",
        ),
        Column("seed", STR, "all: mean over seeds, case by case; else the number of one"),
        Column("calls", INT, "Questions to the judge that the round learned from"),
        Column("updates", FLOAT, "Steps of the version kept, chosen on validation; 0: the round ended where it began"),
        Column("bucket", STR, "all, or how often training names the target: unseen, rare (1 to 4 times), middle, top 100"),
        Column(
            "metric",
            STR,
            "R@20 or N@10 of the retriever's own order, or N@10 after the judge has ordered its candidates; inside a bucket a target's",
        ),
        Column("value", FLOAT, "Mean over test cases"),
        Column("reference", STR, "What `difference` is taken against: round_0, sft or none"),
        Column("difference", FLOAT, "value minus the reference's on the same cases"),
        Column("low", FLOAT, "Lower end of the paired 95 % bootstrap interval of `difference` over conversations"),
        Column("high", FLOAT, "Upper end"),
        Column("relative", FLOAT, "difference / the reference's value"),
        Column("cases", INT, "Number of test cases; inside a bucket of targets"),
    ),
    key=("dataset", "dial", "objective", "seed", "bucket", "metric", "reference"),
)

SEQUENCES_CHECK = Table(
    "experiments",
    "sequences_check",
    "LRURec as it was published, trained and tested on rating sequences: leave-last-out, all items ranked, the history left out.",
    (
        Column("data", STR, "Name of the rating sequences: ml-1m"),
        Column("system", STR, "What was trained"),
        Column("metric", STR, "R@10, N@10, MRR@10, ..."),
        Column("value", FLOAT, "Mean over users, of their last item"),
        Column("standard_error", FLOAT, "Standard error of `value` over users"),
        Column("cases", INT, "Number of users with a test item"),
        Column("epoch", INT, "Epoch with the best validation N@10, which was tested"),
        Column("steps", INT, "Training steps until then"),
        Column("most_epochs", INT, "Epochs after which training would have ended at the latest; few of them prove nothing"),
        Column("seed", INT, "Seed of the training"),
    ),
    key=("data", "system", "metric"),
)

RECOMMENDATIONS = Table(
    "evaluation",
    "recommendations",
    "What every system recommends for every evaluated case.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "validation or test"),
        Column("system", STR, "Name of the system"),
        Column("case_id", STR, "Case"),
        Column("ranking", STRS, "movie_ids, best first, at most 50; movies of the history left out"),
        Column("unmatched", INT, "Titles that the LLM wrote and the corpus does not know; null where no LLM wrote"),
        Column("titles", INT, "Titles that the LLM wrote; null where no LLM wrote"),
        Column(
            "ranked", INT, "So many of the first movies of `ranking` were put there by the LLM, the rest is the retriever's order"
        ),
        Column("scores", pl.List(FLOAT), "Score of each movie of `ranking`, for retrievers"),
        Column(
            "reversed", STRS, "What the LLM ranked when the same candidates were shown the other way round; null where not asked"
        ),
        Column("model", STR, "LLM that was asked; null, as the columns below, where none was"),
        Column("status", STR, "answered, failed or unparsed; where it is not answered, the retriever's order stands"),
        Column("prompt_tokens", INT, "Tokens sent"),
        Column("answer_tokens", INT, "Tokens received"),
        Column("seconds", FLOAT, "Wall-clock seconds of the call; of the first call where the answer was cached"),
        Column("cost", FLOAT, "Money for the call, in the currency of the prices; likewise"),
    ),
    key=("split", "system", "case_id"),
)

METRICS = Table(
    "evaluation",
    "metrics",
    "Metrics of every case and system, before any averaging.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "validation or test"),
        Column("protocol", STR, "fresh_turns or cikm23"),
        Column("system", STR, "Name of the system"),
        Column("case_id", STR, "Case; under cikm23 with the target behind it"),
        Column("dialogue_id", STR, "Conversation: the unit of the bootstrap"),
        Column("metric", STR, "R@10, N@10, MRR@10, ..."),
        Column("value", FLOAT, "The case's value; a recall is hits / targets of the case, what was not linked counted as missed"),
        Column("weight", FLOAT, "Weight of the case in the mean: 1"),
    ),
    key=("split", "protocol", "system", "case_id", "metric"),
)

LEADERBOARD = Table(
    "evaluation",
    "leaderboard",
    "Means with intervals, one row a data set, split, protocol, system and metric.",
    (
        Column("dataset", STR, "redial, inspired or reddit"),
        Column("split", STR, "validation or test"),
        Column("protocol", STR, "fresh_turns or cikm23"),
        Column("scope", STR, "all: every case; judged: the cases that were put to the LLM, so that systems are paired"),
        Column("system", STR, "Name of the system"),
        Column("metric", STR, "R@10, N@10, MRR@10, ..."),
        Column("value", FLOAT, "Mean over cases"),
        Column("low", FLOAT, "Lower end of the 95 % bootstrap interval over conversations"),
        Column("high", FLOAT, "Upper end"),
        Column("standard_error", FLOAT, "Bootstrap standard error"),
        Column("reference", STR, "System that `difference` is taken against, null where there is none"),
        Column("difference", FLOAT, "value minus the reference's value on the same cases"),
        Column("difference_low", FLOAT, "Lower end of the paired 95 % interval of `difference`"),
        Column("difference_high", FLOAT, "Upper end"),
        Column("cases", INT, "Number of cases"),
    ),
    key=("dataset", "split", "protocol", "scope", "system", "metric"),
)

TABLES = (
    RAW_FILES,
    SOURCE_MOVIES,
    MOVIES,
    PROVENANCE,
    PLACEMENTS,
    CONFLICTS,
    ALIASES,
    TITLES,
    ITEM_EMBEDDINGS,
    DIALOGUES,
    MENTIONS,
    CASES,
    JUDGE_CHECK,
    FEEDBACK,
    PREFERENCES,
    RECOMMENDATIONS,
    METRICS,
    LEADERBOARD,
    JUDGE_EXPERIMENT,
    SEQUENCES_CHECK,
)


if __name__ == "__main__":
    from rar_pipeline.dictionary import dictionary

    print(dictionary(TABLES))
