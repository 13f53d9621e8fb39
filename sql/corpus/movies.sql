-- One row a movie, each field from the source that table precedence ranks first. Nothing is taken from records that were placed ambiguously.
-- An id of another register belongs to one movie (shared_ids). Plots: a summary of some length first, whoever wrote it, then by rank; cast: three names or more first, since IMDb's mirror often has but one.
CREATE TABLE movies AS
WITH stated AS (
    SELECT
        placed.movie AS movie_id,
        claims.* EXCLUDE (plot, tmdb_id),
        CASE WHEN owner.imdb_id IS NULL OR owner.imdb_id = placed.movie THEN tmdb_id END AS tmdb_id,
        CASE WHEN length(claims.plot) >= 20 AND NOT regexp_matches(claims.plot, $placeholder, 'i') THEN claims.plot END AS plot,
        ranks.title AS title_rank,
        ranks.original_title AS original_title_rank,
        ranks.year AS year_rank,
        ranks.genres AS genres_rank,
        ranks.directors AS directors_rank,
        ranks."cast" AS cast_rank,
        ranks.plot AS plot_rank,
        ranks.runtime AS runtime_rank,
        ranks.rating AS rating_rank,
        placed.found_by != 'ambiguous' AS trusted
    FROM placed
    JOIN claims USING (record)
    JOIN precedence AS ranks ON ranks.source = claims.source
    LEFT JOIN shared_ids AS owner ON owner.register = 'tmdb' AND owner.id = claims.tmdb_id::VARCHAR
    WHERE left_out IS NULL
)
SELECT
    movie_id,
    CASE WHEN movie_id LIKE 'tt%' THEN movie_id END AS imdb_id,
    first(tmdb_id ORDER BY title_rank, source_id) FILTER (tmdb_id IS NOT NULL AND trusted) AS tmdb_id,
    first(movielens_id ORDER BY title_rank, source_id) FILTER (movielens_id IS NOT NULL AND trusted) AS movielens_id,
    first(wikidata_id ORDER BY title_rank, source_id) FILTER (wikidata_id IS NOT NULL AND trusted) AS wikidata_id,
    first(title ORDER BY title_rank, source_id) AS title,
    first(original_title ORDER BY original_title_rank, source_id)
        FILTER (original_title IS NOT NULL AND original_title_rank IS NOT NULL AND trusted) AS original_title,
    first(year ORDER BY year_rank, source_id) FILTER (year IS NOT NULL AND trusted) AS year,
    coalesce(first(kind ORDER BY title_rank, source_id) FILTER (kind IS NOT NULL), 'movie') AS kind,
    coalesce(first(genres ORDER BY genres_rank, source_id) FILTER (len(genres) > 0 AND trusted), []) AS genres,
    coalesce(first(directors ORDER BY directors_rank, source_id) FILTER (len(directors) > 0 AND trusted), []) AS directors,
    coalesce(first("cast" ORDER BY len("cast") < 3, cast_rank, source_id) FILTER (len("cast") > 0 AND trusted), []) AS "cast",
    first(plot ORDER BY length(plot) < 60, plot_rank, length(plot) DESC, source_id) FILTER (plot IS NOT NULL AND trusted) AS plot,
    first(runtime ORDER BY runtime_rank, source_id) FILTER (runtime IS NOT NULL AND trusted) AS runtime,
    first(rating ORDER BY rating_rank, votes DESC, source_id) FILTER (rating IS NOT NULL AND trusted) AS rating,
    first(votes ORDER BY rating_rank, votes DESC, source_id) FILTER (rating IS NOT NULL AND trusted) AS votes,
    first(source ORDER BY length(plot) < 60, plot_rank, length(plot) DESC, source_id) FILTER (plot IS NOT NULL AND trusted) AS plot_source,
    list_sort(list(DISTINCT source)) AS sources
FROM stated
GROUP BY movie_id
HAVING bool_or(trusted)
