"""What assets are handed: the lake (where tables and models live), the sources of raw files, the language model.

Thin: each resource holds addresses and calls a pure function elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
import polars as pl
from pydantic import Field

from rar_pipeline.errors import RarError
from rar_pipeline.files import content_hash, replacing
from rar_pipeline.places import made_by
from rar_pipeline.settings import Settings
from rar_pipeline.tables import Table

if TYPE_CHECKING:
    from rar_pipeline.generation.questions import LanguageModelHandle, Mode


EMBEDDED_SECONDS = 600.0  # of one call: a busy machine is slow, and nobody else answers
NAME = re.compile(r"[^./\\\0][^/\\\0]*")  # of a version or a part, which become folders

_WHOLE: dict[str, str] = {}  # addresses without what they hold of secrets -> as they were set


def without_secrets(address: str) -> str:
    """An address without user, password and query, for a resource to hold, since Dagster stores what those hold; `whole` gives it back."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    held = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "***" if parts.query else "", ""))
    _WHOLE[held] = address
    return held


def whole(held: str) -> str:
    """The address that was set."""
    return _WHOLE.get(held, held)


class Stamp(NamedTuple):
    """Of a table in the lake: the hash of what it was made of, and of what it holds (`files.content_hash`)."""

    made_of: str = ""
    content: str = ""


class Lake(dg.ConfigurableResource):
    """Where tables and models live: `<root>/<stage>/<table>/[dataset=..]/data.parquet`, each written whole or not at all."""

    root: str

    @property
    def path(self) -> Path:
        """Root folder."""
        return Path(self.root)

    def folder(self, stage: str, name: str, part: str | None = None) -> Path:
        """Folder of a table or model; `part` is a data set or, for tables kept by source, its name. Raises RarError for what is no name."""
        for word in (name, part):
            if word is not None and not NAME.fullmatch(word):
                raise RarError(
                    f"{word!r}: no name of a data set, a source or a version; it must not begin with a dot nor hold a slash"
                )
        path = self.path / stage / name
        return path / f"dataset={part}" if part else path

    def file(self, table: Table, part: str | None = None, name: str | None = None) -> Path:
        """Where a table lies; `name` stands for the table's own where a table is kept several times (a round's feedback)."""
        return self.folder(table.stage, name or table.name, part) / "data.parquet"

    def write(
        self, table: Table, frame: pl.DataFrame, part: str | None = None, name: str | None = None, made_of: str = ""
    ) -> Path:
        """Check a frame against its table, stamp it (see `stamp`), write it, whole or not at all; `made_of` is the hash of what it was made of."""
        path = self.file(table, part, name)
        frame = table.conform(frame)
        with replacing(path) as temporary:
            frame.write_parquet(temporary, metadata={"made_of": made_of, "content": content_hash(frame)})
        return path

    def stamp(self, table: Table, part: str | None = None, name: str | None = None) -> Stamp:
        """What was written into a table's file beside its rows; empty where the table is not there or damaged.

        It lies in the file itself, so that it can never tell of other rows than those beside it.
        """
        try:
            written = pl.read_parquet_metadata(self.file(table, part, name))
        except (OSError, pl.exceptions.PolarsError):
            return Stamp()
        return Stamp(written.get("made_of", ""), written.get("content", ""))

    def read(self, table: Table, part: str | None = None, name: str | None = None) -> pl.DataFrame:
        """A table of the lake. Raises RarError where it was not made yet or cannot be read."""
        path = self.file(table, part, name)
        try:
            return table.conform(pl.read_parquet(path, hive_partitioning=False))
        except FileNotFoundError:
            raise RarError(f"{path}: not there yet; materialise the asset {made_by(table, part, name)} first") from None
        except pl.exceptions.ComputeError as error:
            raise RarError(f"{path}: damaged ({error}); materialise the asset {made_by(table, part, name)} again") from None

    def scan(self, table: Table, part: str | None = None, name: str | None = None) -> pl.LazyFrame:
        """A table of the lake of which only what is asked for is read. Raises RarError where it was not made yet."""
        path = self.file(table, part, name)
        if not path.is_file():
            raise RarError(f"{path}: not there yet; materialise the asset {made_by(table, part, name)} first")
        return pl.scan_parquet(path, hive_partitioning=False).select(list(table.schema))


class Sources(dg.ConfigurableResource):
    """Where raw files come from: the bundled sample world, the publishers, or a mirror of them."""

    sources: str
    raw: str
    contact: str = ""
    seed: int = 0
    rate: float = 5.0
    hosts: dict[str, str] = Field(default_factory=dict)
    harvest_limit: int = 1000
    harvest_days: float = 30.0

    def collect(self, publisher: str, log: Callable[[str], None]) -> pl.DataFrame:
        """The publisher's files as a frame of RAW_FILES: fetched where needed, hashed."""
        from rar_pipeline.sources import PUBLISHERS, Upstream, collect

        # like the LLM's key they are no settings: nothing that is stored or shown may hold them
        keys = {name: os.environ[name] for name in (known.key for known in PUBLISHERS.values()) if os.environ.get(name)}
        return collect(
            publisher,
            whole(self.sources),
            Path(self.raw),
            contact=self.contact,
            seed=self.seed,
            log=log,
            rate=self.rate,
            upstream=Upstream(
                hosts={host: whole(held) for host, held in self.hosts.items()},
                keys=keys,
                limit=self.harvest_limit,
                days=self.harvest_days,
            ),
        )


class LanguageModel(dg.ConfigurableResource):
    """The black-box LLM: an OpenAI-compatible endpoint, or the embedded model, started on loopback for as long as it is needed."""

    base_url: str = ""
    model: str = ""
    mode: Literal["auto", "generate", "label", "likelihood"] = "auto"
    concurrency: int = 4
    timeout: float = 120.0
    retries: int = 4
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    prompt_price: float = 0.0
    answer_price: float = 0.0
    max_calls: int = 0
    max_total_tokens: int = 0
    max_cost: float = 0.0
    words: int = 16
    card_characters: int = 160
    context_characters: int = 4000
    thinking_tokens: int = 2048
    reasoning_effort: str = ""
    adapter: str = ""
    cache: str
    models: str

    @property
    def ranking_mode(self) -> Mode:
        """How the model ranks: as set; by default generate; the embedded model, which writes no usable lists, by likelihood, a tuned one by label."""
        if self.mode != "auto":
            return self.mode
        return "generate" if self.base_url else "label" if self.adapter else "likelihood"

    @property
    def generates(self) -> bool:
        """Whether it writes lists, so that it can be asked without candidates."""
        return self.ranking_mode == "generate"

    @property
    def name(self) -> str:
        """What reports call the model."""
        embedded = f"SmolLM2-135M-Instruct (embedded{', tuned' if self.adapter else ''})"
        return f"{self.model or embedded}, mode {self.ranking_mode}"

    @contextmanager
    def open(self) -> Iterator[LanguageModelHandle]:
        """A handle to the running model; the embedded server ends with the block. Raises RarError where no model can be reached."""
        from rar_pipeline.generation import adapter as adapters
        from rar_pipeline.generation.budget import Budget
        from rar_pipeline.generation.client import on_record
        from rar_pipeline.generation.embedded import EmbeddedServer
        from rar_pipeline.generation.questions import LanguageModelHandle

        common: dict[str, Any] = {
            "mode": self.ranking_mode,
            "retries": self.retries,
            "cache": Path(self.cache),
            "words": self.words,
            "card_characters": self.card_characters,
            "context_characters": self.context_characters,
        }
        if self.base_url and self.adapter:
            raise RarError("RAR_JUDGE_ADAPTER is for the embedded model; unset it, or RAR_LLM_BASE_URL")
        if not self.base_url:
            adapter = Path(self.adapter) if self.adapter else None
            if adapter:  # asked as it was taught
                known = adapters.read(adapter)
                common |= {"card_characters": known.card_characters, "context_characters": known.context_characters}
            with EmbeddedServer(store=Path(self.models), adapter=adapter) as server:
                yield LanguageModelHandle(
                    server.base_url,
                    server.model,
                    key_from_environment=False,
                    concurrency=server.slots,
                    timeout=EMBEDDED_SECONDS,
                    budget=Budget(self.max_calls, self.max_total_tokens),
                    **common,
                )
        elif not self.model:
            raise RarError("RAR_LLM_MODEL is not set: name the model that RAR_LLM_BASE_URL serves")
        elif self.max_cost and not (self.prompt_price or self.answer_price):
            raise RarError("RAR_LLM_MAX_COST is set, but no price: set RAR_LLM_PROMPT_PRICE and RAR_LLM_ANSWER_PRICE")
        else:
            base_url = whole(self.base_url)
            yield LanguageModelHandle(
                base_url,
                self.model,
                key_from_environment="OPENAI_API_KEY" in os.environ,
                concurrency=self.concurrency,
                timeout=self.timeout,
                requests_per_minute=self.requests_per_minute,
                tokens_per_minute=self.tokens_per_minute,
                prompt_price=self.prompt_price,
                answer_price=self.answer_price,
                budget=Budget(
                    self.max_calls, self.max_total_tokens, self.max_cost, on_record(Path(self.cache), base_url, self.model)
                ),
                thinking_tokens=self.thinking_tokens,
                reasoning_effort=self.reasoning_effort,
                **common,
            )


def resources(settings: Settings) -> dict[str, dg.ConfigurableResource]:
    """The three resources as the settings describe them."""
    root = settings.root
    return {
        "lake": Lake(root=str(root)),
        "sources": Sources(
            sources=without_secrets(settings.sources),
            raw=str(root / "raw"),
            contact=settings.contact,
            seed=settings.seed,
            rate=settings.requests_per_second,
            hosts={host: without_secrets(address) for host, address in settings.upstream_hosts.items()},
            harvest_limit=settings.harvest_limit,
            harvest_days=settings.harvest_days,
        ),
        "language_model": LanguageModel(
            base_url=without_secrets(settings.llm_base_url),
            model=settings.llm_model,
            mode=settings.llm_mode,
            concurrency=settings.llm_concurrency,
            timeout=settings.llm_timeout,
            retries=settings.llm_retries,
            requests_per_minute=settings.llm_requests_per_minute,
            tokens_per_minute=settings.llm_tokens_per_minute,
            prompt_price=settings.llm_prompt_price,
            answer_price=settings.llm_answer_price,
            max_calls=settings.llm_max_calls,
            max_total_tokens=settings.llm_max_total_tokens,
            max_cost=settings.llm_max_cost,
            words=settings.llm_words,
            card_characters=settings.llm_card_characters,
            context_characters=settings.llm_context_characters,
            thinking_tokens=settings.llm_thinking_tokens,
            reasoning_effort=settings.llm_reasoning_effort,
            adapter=settings.judge_adapter,
            cache=str(settings.lake / "answers" / "answers.sqlite"),
            models=str(settings.lake / "models"),
        ),
    }
