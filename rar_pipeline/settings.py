"""Every knob of the pipeline: its default, its unit and its environment variable, in one typed place.

A field `x` is set by the environment variable `RAR_X` (case does not matter) or by a line in `.env`. Secrets are not settings: the key
of an LLM endpoint is read from `OPENAI_API_KEY` where the client is made, and goes nowhere else.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rar_pipeline.errors import RarError
from rar_pipeline.files import digest

PROJECT = Path(__file__).resolve().parent.parent
CRON = r"^[\d*,/A-Za-z-]+( [\d*,/A-Za-z-]+){4}$"
Objective = Literal["dpo", "odds", "mult_dpo", "pl_rloo", "lambda_credit", "sft"]


class Settings(BaseSettings):
    """Settings of one run of the pipeline."""

    model_config = SettingsConfigDict(env_prefix="RAR_", env_file=".env", extra="ignore", frozen=True)

    # where data comes from and goes to
    sources: str = Field("sample", description="sample, upstream, or a folder or http(s) address that mirrors the publishers")
    lake: Path = Field(
        Path("lake"), description="folder of all tables and models; each world of sources has its own folder inside"
    )
    validation_share: float = Field(
        0.15, gt=0, lt=0.5, description="share of ReDial's complete training dialogues held out for validation"
    )
    kinds: tuple[str, ...] = Field(("movie", "tvMovie", "video"), description="IMDb kinds of title that the corpus keeps")
    duckdb_memory: str = Field(
        "2GB",
        pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$",
        description="what DuckDB may hold before it spills to disk; frames and results come on top",
    )
    contact: str = Field("", description="address or e-mail that fetchers put into their user agent")
    requests_per_second: float = Field(
        5.0, gt=0, le=1000, description="most requests a second to one host; hosts that want fewer get fewer"
    )
    upstream_hosts: dict[str, Annotated[str, StringConstraints(pattern="^https?://")]] = Field(
        default_factory=dict,
        description='addresses that stand in for publishers\' hosts, as JSON: {"www.omdbapi.com": "http://proxy.example/omdb"}',
    )
    harvest_limit: int = Field(
        1000,
        ge=0,
        description="records newly asked of one API in a run (a free OMDb key answers 1,000 a day); the next run goes on",
    )
    harvest_days: float = Field(30.0, gt=0, le=365, description="days for which an API's answer is not asked for again")

    # how much work a run does
    preset: Literal["small", "full"] = Field("small", description="bounds the contexts and cases that are put to the LLM")
    rounds: int = Field(2, ge=0, le=20, description="preference rounds after the supervised round 0")
    feedback_contexts: int | None = Field(
        None, ge=1, description="training contexts put to the LLM a round; overrides the preset"
    )
    judged_cases: int | None = Field(None, ge=1, description="cases of each split that are put to the LLM; overrides the preset")
    seed: int = Field(0, ge=0, description="the one seed that all randomness comes from")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where training runs; auto takes a GPU where there is one")

    # text encoder
    encoder: str = Field("minilm", description="minilm (weights in a package) or any sentence-transformers model name or folder")
    plot_characters: int = Field(
        300, ge=0, description="characters of a plot that the encoder is given; longer ones cost time in proportion"
    )
    encoder_batch: int = Field(64, ge=1, description="texts in one batch of the encoder")

    # retriever (METHOD: LRURec)
    hidden: int = Field(128, ge=8, description="width of item vectors and of the recurrent unit")
    blocks: int = Field(2, ge=1, description="LRU blocks")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout of the supervised round")
    max_history: int = Field(50, ge=1, description="most recent movies of a history that are read")
    context_turns: int = Field(6, ge=1, description="last turns of a conversation that are read")
    use_turns: bool = Field(True, description="the last turns also one by one, by attention (needs use_text)")
    heads: int = Field(4, ge=1, description="heads of the attention over turns")
    cosine_weight: float = Field(
        4.0, ge=0, description="so many times the cosine of the conversation's and the movie's text is part of the score; 0: none"
    )
    axes: int = Field(128, ge=1, description="principal axes of the embeddings in which that cosine is taken")
    use_text: bool = Field(True, description="text of the conversation in the query (False: LRURec as published)")
    use_item_text: bool = Field(True, description="text embeddings in the item table (False: ids only, as published)")
    neighbours: int = Field(
        100, ge=0, description="co-occurring movies kept a movie as a feature of the score; 0: none, LRURec as published"
    )
    newcomers: int = Field(
        10, ge=0, description="movies without a residual that most resemble a movie of the history and are put forward; 0: none"
    )
    newcomer_votes: int = Field(1000, ge=0, description="IMDb votes that a movie needs to be put forward so")
    rescored: int = Field(
        500,
        ge=0,
        description="best movies of a query to whose scores weighed features are added (people and genres that are named, year, votes, ...); 0: none",
    )
    reserved_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the training dialogues that supervision does not see, so that preference rounds ask about new ones; 0: they ask about "
        "what supervision has learnt",
    )
    batch: int = Field(128, ge=1, description="examples that one device takes in one training step")
    learning_rate: float = Field(
        1e-3, gt=0, description="AdamW learning rate over all data sets; not scaled with the number of devices"
    )
    warm_up: int = Field(100, ge=0, description="steps in which the learning rate rises to its full size")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant",
        description="learning rate after warming up. cosine and linear fall to zero at the end of the last epoch, which early stopping seldom "
        "lets it reach: with them choose few epochs and a patience as large",
    )
    pretraining_epochs: int = Field(12, ge=1, description="most epochs over all data sets; early stopping ends them sooner")
    rating_epochs: int = Field(
        0,
        ge=0,
        description="epochs over rating sequences before all else, where the sources have some; 0: they are not learned from",
    )
    epochs: int = Field(12, ge=1, description="most epochs over the data set's own dialogues; early stopping ends them sooner")
    tuning_learning_rate: float = Field(5e-4, gt=0, description="AdamW learning rate over the data set's own dialogues")
    average: float = Field(
        2.0,
        ge=0,
        description="epochs over which the weights that are judged and kept are averaged; 0: the last step's weights themselves",
    )
    patience: int = Field(4, ge=1, description="epochs without a better validation R@20 before training stops")
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="GPUs of this machine, or processes on its CPU, that train the supervised round together; more than one train in a "
        "process of their own, and a step takes as many times `batch`",
    )
    precision: Literal["auto", "32", "bf16"] = Field(
        "auto", description="what training computes in; auto: bfloat16 beside float32 weights on a GPU that has it, else float32"
    )
    negatives: int = Field(4096, ge=1, description="uniform negatives a step from movies that no training conversation mentions")

    # preference rounds (METHOD: feedback and preference optimisation)
    candidates: int = Field(20, ge=2, description="k: movies in a candidate set")
    sets: int = Field(2, ge=2, description="G: candidate sets a context")
    pool: int = Field(500, ge=2, description="M: best-scored movies that sets are drawn from")
    temperature: float = Field(1.0, gt=0, description="temperature of the Plackett-Luce draw")
    objective: Objective = Field(
        "dpo",
        description="what a round learns from: dpo (the paper's), odds, mult_dpo, pl_rloo, lambda_credit, or sft, the control that only goes on with "
        "supervision; see docs/preference.md",
    )
    objectives: tuple[Objective, ...] = Field(
        get_args(Objective),
        description="objectives that are compared: round 1 is trained once more with each beside `objective`, from the same feedback, and evaluated "
        "with the LLM; as JSON, [] for none",
    )
    asked_sets: Literal["auto", "open", "holding"] = Field(
        "auto",
        description="which sets the LLM ranks. open: those of contexts where more than one set holds a target, since otherwise the winner is known; "
        "holding: all that hold one; auto: open for dpo, odds and mult_dpo, which learn from who won, holding for the others",
    )
    beta: float = Field(0.1, gt=0, description="strength of the preference margin (dpo, odds, mult_dpo)")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="label smoothing of the preference loss (dpo)")
    set_probability: Literal["plackett_luce", "independent"] = Field(
        "plackett_luce",
        description="log-probability of a set (dpo): exact, drawn without replacement, or the plain sum over its movies",
    )
    objective_weight: float = Field(1.0, ge=0, description="weight of the preference loss")
    sft_weight: float = Field(1.0, ge=0, description="weight of the cross-entropy on the target kept beside the preference loss")
    kl_weight: float = Field(
        0.1, ge=0, description="weight of the divergence from the round before (pl_rloo, lambda_credit; the others need none)"
    )
    kl_ceiling: float = Field(
        0.5,
        gt=0,
        description="nats of divergence from the round before, in the pool, beyond which an epoch is not kept and the round ends",
    )
    preference_learning_rate: float = Field(5e-5, gt=0, description="AdamW learning rate of a preference round")
    preference_batch: int = Field(16, ge=1, description="contexts in one step of a preference round")
    preference_epochs: int = Field(2, ge=1, description="most epochs of a preference round; early stopping ends them sooner")
    preference_patience: int = Field(2, ge=1, description="epochs without a better validation figure before a round ends")
    watched_cases: int | None = Field(
        None,
        ge=0,
        description="validation cases whose candidates the LLM ranks after each epoch of a round, so that N@10 after the LLM chooses the epoch; "
        "0: the retriever's own N@10 does; overrides the preset (full: 200, small: 0)",
    )
    experiment_contexts: int = Field(
        1000, ge=1, description="training contexts of one round of the experiment with a simulated judge"
    )
    experiment_seeds: int = Field(
        3, ge=1, description="seeds of that experiment: contexts, draws, the judge's errors, order of training"
    )
    experiment_dials: tuple[float, ...] = Field(
        (0.0, 1.0, 2.0, 100.0),
        description="competences of the simulated judge, from guessing to an oracle; one as competent as published rankers is added",
    )
    sequences_epochs: int = Field(
        500,
        ge=1,
        description="most epochs of `sequences_check`, LRURec as published on rating sequences; early stopping ends them sooner",
    )
    judge_check_cases: int | None = Field(
        None, ge=1, description="validation cases on which the judge is checked before it teaches; overrides the preset"
    )
    force_feedback: bool | None = Field(
        None,
        description="collect feedback although the judge's order does not beat the retriever's; not set: on the sample world only, "
        "which is there to show the machinery",
    )

    judge_adapter: str = Field(
        "", description="folder of an adapter that the embedded model takes on, as the asset tuned_judge makes it; empty: none"
    )
    judge_training_cases: int = Field(2000, ge=8, description="training cases that tuned_judge learns from")
    judge_training_epochs: int = Field(1, ge=1, description="epochs over them")
    judge_training_minutes: float = Field(20.0, gt=0, description="minutes after which it ends, wherever it is")
    judge_card_characters: int = Field(
        0,
        ge=0,
        description="what the tuned judge's prompts hold of a movie's facts beside title and year, in training and afterwards",
    )

    # language model
    llm_base_url: str = Field("", description="OpenAI-compatible endpoint; empty: the embedded model on loopback")
    llm_model: str = Field("", description="model name at the endpoint; empty: the embedded model")
    llm_mode: Literal["auto", "generate", "label", "likelihood"] = Field(
        "auto",
        description="how the LLM ranks; auto: likelihood for the embedded model, label where it has an adapter, else generate",
    )
    llm_concurrency: int = Field(4, ge=1, description="calls in flight")
    llm_timeout: float = Field(120.0, gt=0, description="seconds before a call is given up")
    llm_retries: int = Field(4, ge=0, description="retries of a call after a transient failure")
    llm_requests_per_minute: int = Field(0, ge=0, description="most requests to the endpoint in any minute; 0: no limit")
    llm_tokens_per_minute: int = Field(
        0, ge=0, description="most tokens, of prompts and answers together, in any minute; 0: no limit"
    )
    llm_prompt_price: float = Field(0.0, ge=0, description="price of a million prompt tokens, in any one currency")
    llm_answer_price: float = Field(0.0, ge=0, description="price of a million answer tokens, thoughts included")
    llm_max_calls: int = Field(
        0,
        ge=0,
        description="requests to the model, of all runs on record in this lake, beyond which nothing more is asked; 0: no limit",
    )
    llm_max_total_tokens: int = Field(
        0, ge=0, description="tokens of all prompts and answers on record, beyond which nothing more is asked; 0: no limit"
    )
    llm_max_cost: float = Field(
        0.0, ge=0, description="money on record, in the currency of the prices, beyond which nothing more is asked; 0: no limit"
    )
    llm_words: int = Field(16, ge=1, description="last words of the seeker that mode likelihood scores")
    llm_card_characters: int = Field(160, ge=0, description="what a prompt holds of a movie's facts; characters of English")
    llm_context_characters: int = Field(
        4000, ge=80, description="what a prompt holds of a conversation, its end; characters of English"
    )
    llm_thinking_tokens: int = Field(
        2048,
        ge=0,
        description="tokens that a reasoning model may think, beside its answer, in mode generate; the embedded one does not think",
    )
    llm_reasoning_effort: str = Field("", description="sent to the endpoint where it is not empty, such as minimal or low")

    # what the evaluation compares and says
    backbones: tuple[str, ...] = Field(
        (), description="further models at the endpoint that re-rank the newest version's candidates, to be compared; as JSON"
    )
    order_cases: int = Field(
        10, ge=0, description="judged cases of each split that the LLM is also shown in reverse order, to measure its order bias"
    )
    llm_cutoff_year: int = Field(
        2023, ge=1900, description="last year whose movies the LLM can have read of; newer ones are counted apart"
    )

    # service
    serve_host: str = Field(
        "127.0.0.1", description="address that the chat page is served on; there are no accounts, so loopback"
    )
    serve_port: int = Field(8000, ge=0, le=65535, description="port of the chat page; 0: any that is free")
    chat_movies: int = Field(10, ge=1, le=50, description="movies that one answer of the chat shows")
    chat_keep: bool = Field(True, description="keep conversations in which somebody rated a movie, as the data set chat")

    # operations (docs/operations.md)
    automation: bool = Field(
        False,
        description="turns on the schedules and sensors, and what they promise as freshness; each can be turned off in the UI",
    )
    corpus_schedule: str = Field(
        "0 1 * * *", pattern=CRON, description="when sources, corpus and conversations are renewed; cron, UTC"
    )
    training_schedule: str = Field("0 3 * * 1", pattern=CRON, description="when every data set is trained anew; cron, UTC")
    retrain_share: float = Field(
        0.05,
        gt=0,
        le=1,
        description="share of movies, or of a data set's conversations, new or changed since the last training, that asks for one",
    )
    webhook: SecretStr = Field(
        SecretStr(""), description="http(s) address that is told of every failed run; a secret; empty: nobody is told"
    )
    prune_schedule: str = Field("0 0 * * *", pattern=CRON, description="when it is looked up what is old enough to go; cron, UTC")
    prune: bool = Field(False, description="the nightly look lets go what is old enough; else it only says so in the run `prune`")
    keep_runs_days: int = Field(180, ge=0, description="days that ended runs stay on record; 0: for ever")
    keep_attempts_days: int = Field(
        14, ge=0, description="days that what broken-off work left is kept, to go on from; 0: for ever"
    )
    keep_logs_days: int = Field(90, ge=0, description="days that logs of trainings and of `make run` are kept; 0: for ever")
    keep_raw_days: int = Field(90, ge=0, description="days that raw files are kept that newer ones replaced; 0: for ever")
    keep_embeddings_days: int = Field(
        60, ge=0, description="days that embeddings of texts that no table holds are kept; 0: for ever"
    )
    keep_answers_days: int = Field(
        0,
        ge=0,
        description="days that answers of the LLM are kept that no feedback refers to; 0: for ever, since they cost money",
    )
    keep_versions_days: int = Field(90, ge=0, description="days that retrievers are kept that serve no more; 0: for ever")
    keep_versions: int = Field(3, ge=1, description="so many versions that served last are kept, whatever their age")

    @property
    def world(self) -> str:
        """Name of the world of sources: sample, upstream, a mirror's folder name, or an address' host with a hash of the whole."""
        if self.sources in ("sample", "upstream"):
            return self.sources
        if "://" in self.sources:
            return f"{urlsplit(self.sources).hostname}-{digest(self.sources)[:6]}"
        name = Path(self.sources).resolve().name
        return f"{name}-folder" if name in ("sample", "upstream", "") else name

    @property
    def root(self) -> Path:
        """Folder of this world's tables and models inside the lake."""
        return self.lake / self.world

    @property
    def contexts_to_judge(self) -> int:
        """Training contexts put to the LLM in one round of one data set."""
        return self.feedback_contexts or self._bound(sample=6, small=48, full=1000)

    @property
    def cases_to_judge(self) -> int:
        """Cases of one split of one data set that are put to the LLM."""
        return self.judged_cases or self._bound(sample=8, small=40, full=1000)

    @property
    def cases_to_watch(self) -> int:
        """Validation cases of one data set that are put to the LLM after each epoch of a round."""
        if self.watched_cases is not None:
            return self.watched_cases
        return 200 if self.preset == "full" else 0

    @property
    def skips_known_winners(self) -> bool:
        """Whether a set that alone holds a target wins without a question."""
        if self.asked_sets == "auto":
            return self.objective not in ("pl_rloo", "lambda_credit")
        return self.asked_sets == "open"

    @property
    def further_objectives(self) -> tuple[Objective, ...]:
        """Objectives that are compared with that of the rounds."""
        return tuple(one for one in dict.fromkeys(self.objectives) if one != self.objective) if self.rounds else ()

    @property
    def cases_to_check(self) -> int:
        """Validation cases of one data set on which the judge is checked before it teaches."""
        return self.judge_check_cases or self._bound(sample=6, small=60, full=500)

    @property
    def feedback_is_forced(self) -> bool:
        """Whether feedback is collected even from a judge that the check advises against."""
        return self.world == "sample" if self.force_feedback is None else self.force_feedback

    def _bound(self, *, sample: int, small: int, full: int) -> int:
        """`small` is smaller still on the sample world, so that a first run takes minutes."""
        return full if self.preset == "full" else sample if self.world == "sample" else small


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings that the environment gives. Raises RarError naming the variable, the value and what is allowed."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RAR_" + str(first["loc"][0]).upper()
        raise RarError(f"{name}={first['input']!r}: {first['msg']}") from None
