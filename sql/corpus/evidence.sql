-- Pairs of a unit of this batch and an earlier movie of the same normalised title, and what speaks for and against their being one.
CREATE OR REPLACE TABLE evidence AS
WITH pairs AS (
    SELECT
        here.unit,
        there.unit AS other,
        min(coalesce(abs(here.year - there.year), 1)) AS years_apart,
        bool_or(here.year IS NULL OR there.year IS NULL) AS year_unknown,
        max(length(here.key)) AS letters
    FROM unit_keys AS here
    JOIN units AS candidate ON candidate.unit = here.unit
    JOIN unit_keys AS there ON there.key = here.key AND there.unit != here.unit
    JOIN units AS known ON known.unit = there.unit
    WHERE candidate.batch BETWEEN $first AND $last
        AND (known.batch < candidate.batch OR ($among AND known.batch = candidate.batch AND there.unit < here.unit))
        AND here.unit NOT IN (SELECT unit FROM resolved)
    GROUP BY ALL
),
compared AS (
    SELECT
        pairs.*,
        known.outside,
        known.votes,
        abs(candidate.runtime - known.runtime) AS minutes_apart,
        least(len(candidate.directors), len(known.directors)) AS directors,
        least(len(candidate."cast"), len(known."cast")) AS "cast",
        len(list_intersect(candidate.directors, known.directors)) AS shared_directors,
        len(list_intersect(candidate."cast", known."cast")) AS shared_cast,
        coalesce(
            list_bool_or(flatten([[jaro_winkler_similarity(a, b) > 0.9 FOR a IN candidate.directors] FOR b IN known.directors])), false
        ) AS similar_directors
    FROM pairs
    JOIN units AS candidate ON candidate.unit = pairs.unit
    JOIN units AS known ON known.unit = pairs.other
    WHERE pairs.years_apart <= 1 OR (len(candidate.directors) > 0 AND len(known.directors) > 0)
)
SELECT
    unit,
    other,
    outside,
    votes,
    years_apart,
    minutes_apart,
    CASE
        WHEN years_apart <= 1 AND (shared_directors > 0 OR similar_directors OR shared_cast >= 2) THEN 'people'
        WHEN years_apart <= 1 AND shared_cast = 1 AND directors = 0 THEN 'people'
        WHEN shared_directors > 0 AND shared_cast >= 2 THEN 'people'
        WHEN shared_directors > 0 AND years_apart <= 3 AND ("cast" = 0 OR shared_cast > 0) THEN 'people'
        WHEN years_apart > 1 THEN 'against'
        -- a long title of that very year is hardly two films': sources list other parts of a cast, and running times of other cuts
        WHEN years_apart = 0 AND NOT year_unknown AND letters >= 15 AND directors = 0 AND ("cast" = 0 OR coalesce(minutes_apart, 0) <= 30) THEN 'title'
        WHEN directors > 0 OR "cast" >= 2 THEN 'against'
        WHEN minutes_apart > 30 THEN 'against'
        WHEN year_unknown AND coalesce(minutes_apart, 99) > 3 THEN 'against'
        ELSE 'title'
    END AS verdict
FROM compared
