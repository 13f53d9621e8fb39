-- The movie of every record, how it was found (id, people, title, ambiguous, new), and why it is left out, if it is. What IMDb's file does not
-- list is a short by its genre, or by the Academy's 40 minutes.
CREATE TABLE placed AS
WITH RECURSIVE chain AS (
    SELECT unit, movie, found_by, outside FROM resolved
    UNION ALL
    SELECT chain.unit, resolved.movie, chain.found_by, coalesce(chain.outside, resolved.outside)
    FROM chain
    JOIN resolved ON resolved.unit = chain.movie
),
ends AS (
    SELECT * FROM chain WHERE movie NOT IN (SELECT unit FROM resolved)
),
grouped AS (
    SELECT
        identified.record,
        identified.source,
        coalesce(ends.movie, identified.unit) AS movie,
        coalesce(
            ends.found_by,
            CASE
                WHEN identified.source != 'imdb' AND count(*) OVER (PARTITION BY identified.unit) > 1 THEN 'id'
                ELSE 'new'
            END
        ) AS found_by,
        coalesce(ends.outside, outsiders.kind) AS outside,
        claims.genres,
        claims.runtime
    FROM identified
    JOIN claims USING (record)
    LEFT JOIN ends USING (unit)
    LEFT JOIN excluded AS outsiders ON outsiders.source_id = identified.unit
)
SELECT
    record,
    source,
    movie,
    found_by,
    CASE
        WHEN outside IS NOT NULL AND found_by IN ('id', 'new') THEN 'id of a title that is left out'
        WHEN outside IS NOT NULL THEN 'matches a title that is left out'
        WHEN bool_or(source = 'imdb') OVER same THEN NULL
        WHEN bool_or(list_contains(genres, 'Short')) OVER same THEN 'genre Short'
        WHEN max(runtime) OVER same < 40 THEN 'shorter than 40 minutes'
    END AS left_out
FROM grouped
WINDOW same AS (PARTITION BY movie)
