"""What the UI is handed: numbers as numbers, text as text, and never a data set's markup."""

import base64
import json
import math
import re

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline import tables
from rar_pipeline.metadata import (
    CURVE_ROWS,
    content_hash,
    escaped,
    markdown_image,
    markdown_table,
    plain_text,
    preview,
    retriever_metadata,
    table_metadata,
    table_value,
)

MOVIES = tables.MOVIES.frame(
    [
        {"movie_id": f"tt{n:07d}", "title": f"Film <b>{n}</b> | [x](http://x)", "year": 1990 + n, "cast": ["Ann", "Bob"], "plot": "word " * 99}
        for n in range(8)
    ]
)  # fmt: skip
VECTORS = tables.ITEM_EMBEDDINGS.frame(
    {"movie_id": f"m{n}", "text_hash": "h", "embedding": np.full(tables.EMBEDDING_WIDTH, 0.05, np.float16)} for n in range(3)
)


def shown(metadata: dict[str, dg.MetadataValue]) -> dict[str, dg.MetadataValue]:
    """The metadata as Dagster recorded it."""

    @dg.asset
    def made() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata=metadata)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([made], instance=instance).success
        event = instance.get_latest_materialization_event(dg.AssetKey("made"))
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)


def test_a_table_shows_rows_schema_size_and_what_was_dropped(tmp_path):
    path = tmp_path / "movies.parquet"
    path.write_bytes(b"x" * 321)
    metadata = shown(
        table_metadata(
            tables.MOVIES,
            MOVIES,
            path=path,
            dropped={"no title": 3, "year <1870": 10},
            figures={"plot_share": np.float32(0.5), "linked": np.int64(7), "lost": math.nan},
            extra={"note": dg.MetadataValue.text("hello")},
        )
    )
    assert metadata["dagster/row_count"].value == 8
    schema = metadata["dagster/column_schema"].value
    assert [column.name for column in schema.columns] == list(tables.MOVIES.schema)
    first = schema.columns[0]
    assert (first.type, first.description) == ("String", tables.MOVIES.columns[0].description)
    assert first.constraints.unique
    assert not first.constraints.nullable
    assert metadata["bytes"].value == 321
    assert metadata["path"].value == str(path)
    assert metadata["dropped"].value == 13
    assert metadata["dropped/no title"].value == 3
    assert [record.data for record in metadata["dropped_by_reason"].records] == [
        {"reason": "year <1870", "rows": 10},
        {"reason": "no title", "rows": 3},
    ]
    assert metadata["plot_share"] == dg.MetadataValue.float(0.5)
    assert metadata["linked"] == dg.MetadataValue.int(7)
    assert metadata["lost"] == dg.MetadataValue.text("nan")
    assert metadata["note"].value == "hello"


def test_a_partition_counts_as_a_partition_and_nothing_dropped_is_said():
    metadata = shown(table_metadata(tables.MOVIES, MOVIES, partitioned=True, dropped={}))
    assert metadata["dagster/partition_row_count"].value == 8
    assert "dagster/row_count" not in metadata
    assert metadata["dropped"].value == 0
    assert "dropped" not in table_metadata(tables.MOVIES, MOVIES)


def test_the_preview_is_small_and_says_how_large_the_whole_is():
    text = preview(MOVIES).value
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("| tt")]) == 5
    assert lines[-1] == "First 5 of 8 rows, 18 columns."
    assert len(text) < 4000
    assert preview(MOVIES.head(2)).value.endswith("All of 2 rows, 18 columns.")
    assert preview(tables.MOVIES.empty()).value.endswith("All of 0 rows, 18 columns.")
    assert "(384)" in preview(VECTORS).value


def test_markup_of_a_data_set_is_shown_and_not_read():
    line = next(line for line in preview(MOVIES).value.splitlines() if line.startswith("| tt"))
    assert line.count("|") == MOVIES.width + 1
    assert "<b>" not in line
    assert "&lt;b&gt;0&lt;/b&gt; &#124; \\[x\\](http://x)" in line
    assert escaped("![i](javascript:x)\n\n# `t`") == "!\\[i\\](javascript:x) # \\`t\\`"


@given(st.text(max_size=300))
def test_any_text_stays_one_cell(text):
    cut = plain_text(text)
    assert len(cut) <= 60
    assert cut.isprintable()
    cell = escaped(text)
    assert not set(cell) & set("<>|\n\r")
    assert not re.search(r"(?<!\\)(\\\\)*[`*\[\]]", cell)
    assert markdown_table([{"a": text, "b": text}]).count("|") == 9


def test_equal_content_has_an_equal_hash_and_any_change_another():
    assert content_hash(MOVIES) == content_hash(pl.concat([MOVIES.head(3), MOVIES.tail(5)], rechunk=False))
    assert content_hash(VECTORS) == content_hash(VECTORS.clone())
    others = [
        MOVIES.reverse(),
        MOVIES.head(7),
        MOVIES.with_columns(title=pl.lit("x")),
        MOVIES.with_columns(year=pl.col("year").cast(pl.Int32)),
        MOVIES.with_columns(rating=pl.lit(0.0)),
    ]
    assert len({content_hash(frame) for frame in [MOVIES, *others]}) == 6
    doubled = VECTORS.with_columns(
        embedding=pl.Series([np.full(tables.EMBEDDING_WIDTH, 0.1)] * 3, dtype=VECTORS.schema["embedding"])
    )
    assert content_hash(doubled) != content_hash(VECTORS)
    assert content_hash(pl.DataFrame({"a": [1]})) == "bb8a0c28a36dd7db3f984b9964fb315b009ab76973f2ee5572c751d9033ac528"


def test_an_image_is_inside_the_metadata():
    value = markdown_image(b"\x89PNG...", "a [plot]").value
    assert value.startswith("![a \\[plot\\]](data:image/png;base64,")
    assert base64.b64decode(value.split("base64,")[1].rstrip(")")) == b"\x89PNG..."


def test_a_version_of_the_retriever_shows_its_figures_as_numbers(tmp_path):
    (tmp_path / "weights").write_bytes(b"12")
    (tmp_path / "config.json").write_bytes(b"345")
    curve = [{"epoch": n, "loss": 1 / (n + 1), "N@10": None if n == 0 else 0.1} for n in range(3)]
    metadata = shown(
        retriever_metadata(
            {"version": "round_0", "parent": None, "epochs": 3, "config": {"hidden": 64, "kinds": ("movie",)}}
            | {"metrics": {"R@10": 0.25, "N@10": np.float64(0.1)}, "curve": curve},
            path=tmp_path,
            plot=b"png",
        )
    )
    assert metadata["metric/R@10"] == dg.MetadataValue.float(0.25)
    assert metadata["metric/N@10"] == dg.MetadataValue.float(0.1)
    assert metadata["epochs"].value == 3
    assert metadata["version"].value == "round_0"
    assert metadata["config"].value == {"hidden": 64, "kinds": ["movie"]}
    assert [record.data["epoch"] for record in metadata["curve"].records] == [0, 1, 2]
    assert [column.type for column in metadata["curve"].schema.columns] == ["int", "float", "float"]
    assert metadata["bytes"].value == 5
    json.dumps({name: value.value for name, value in metadata.items() if name == "config"}, allow_nan=False)


def test_a_long_curve_keeps_its_ends():
    metadata = retriever_metadata({"curve": [{"step": n} for n in range(5000)]})
    steps = [record.data["step"] for record in metadata["curve"].records]
    assert (len(steps), steps[0], steps[-1]) == (CURVE_ROWS, 0, 4999)
    assert metadata["curve_points"].value == 5000


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match="at least one record"):
        table_value([])
