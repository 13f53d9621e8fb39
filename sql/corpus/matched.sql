-- The movie that each unit of this batch is found to be. `found_by` says how sure that is: people; title (and year, nothing against it); or ambiguous
-- (one of several of that title and year, so that nothing but its being there is taken from the record).
CREATE OR REPLACE TABLE matched AS
WITH candidates AS (
    SELECT
        evidence.unit,
        coalesce(resolved.movie, evidence.other) AS movie,
        bool_or(verdict = 'people') AS people,
        min(years_apart) FILTER (verdict != 'against') AS years_apart,
        min(minutes_apart) AS minutes_apart,
        max(votes) AS votes,
        any_value(coalesce(evidence.outside, resolved.outside)) AS outside
    FROM evidence
    LEFT JOIN resolved ON resolved.unit = evidence.other
    GROUP BY ALL
    HAVING bool_or(verdict = 'people') OR (NOT bool_or(verdict = 'against') AND $by_title)
),
considered AS (
    SELECT
        *,
        count(*) FILTER (NOT people AND outside IS NULL) OVER same_unit AS rivals,
        count(*) FILTER (NOT people AND outside IS NULL AND years_apart = 0) OVER same_unit AS rivals_of_year,
        count(*) FILTER (coalesce(minutes_apart, 99) <= 2 AND years_apart = 0) OVER same_unit AS rivals_of_length
    FROM candidates
    WINDOW same_unit AS (PARTITION BY unit)
),
eligible AS (
    SELECT
        *,
        CASE
            WHEN people THEN 'people'
            WHEN outside IS NOT NULL AND (minutes_apart > 5 OR years_apart > 0 OR outside = 'tvSeries') THEN NULL
            WHEN years_apart = 0 AND (rivals_of_year <= 1 OR (rivals_of_length = 1 AND minutes_apart <= 2)) THEN 'title'
            WHEN years_apart = 0 THEN 'ambiguous'
            WHEN rivals_of_year = 0 AND rivals = 1 AND coalesce(minutes_apart, 0) <= 5 THEN 'title'
        END AS found_by
    FROM considered
),
best AS (
    SELECT * FROM eligible
    WHERE found_by IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY unit
        ORDER BY NOT people, outside IS NOT NULL, years_apart, coalesce(minutes_apart, 50), votes DESC, movie
    ) = 1
)
-- records of one source are different films unless people say otherwise, so a title is given to one of them only
SELECT unit, movie, outside, found_by FROM best
QUALIFY found_by = 'people' OR row_number() OVER (
    PARTITION BY movie, found_by ORDER BY years_apart, coalesce(minutes_apart, 50), unit
) = 1
