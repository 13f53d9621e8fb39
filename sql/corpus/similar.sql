-- Units that are left are found to be movies with an IMDb id whose title is spelt nearly the same, where something else agrees as well: a director and the year within one (and no running time that is far off), or the year and the running time to the minute.
-- Numbers must be the same ("Part 2", "III"), one movie only may come into question, and a source gives a movie to one of its records only.
CREATE OR REPLACE TABLE matched AS
WITH spelt AS (
    SELECT
        unit,
        year,
        regexp_replace(key, '^(la|le|les|l|el|los|las|il|lo|gli|i|un|une|una|der|die|das|ein|eine|den|det|de|het|o|os|a|as) ', '') AS key,
        regexp_extract_all(key, '\b(\d+|[ivx]{1,4}|one|two|three|four|five)\b') AS numbers
    FROM unit_keys
    WHERE year IS NOT NULL
),
left_over AS (
    SELECT units.*, spelt.* EXCLUDE (unit)
    FROM units
    JOIN spelt USING (unit)
    WHERE batch > 0 AND unit NOT IN (SELECT unit FROM resolved)
),
known AS (
    SELECT units.*, spelt.* EXCLUDE (unit) FROM units JOIN spelt USING (unit) WHERE batch = 0
),
by_director AS (
    SELECT here.unit, there.unit AS movie, there.outside, here.key, there.key AS other, here.numbers = there.numbers AND coalesce(abs(here.runtime - there.runtime), 0) <= 15 AS fits
    FROM (SELECT *, unnest(directors) AS director FROM left_over) AS here
    JOIN (SELECT *, unnest(directors) AS director FROM known) AS there
        ON there.director = here.director AND there.year BETWEEN here.year - 1 AND here.year + 1
),
by_runtime AS (
    SELECT here.unit, there.unit AS movie, there.outside, here.key, there.key AS other, here.numbers = there.numbers AS fits
    FROM left_over AS here
    JOIN known AS there ON there.year = here.year AND there.runtime BETWEEN here.runtime - 1 AND here.runtime + 1
    WHERE len(here.directors) = 0 OR len(there.directors) = 0
),
alike AS (
    SELECT DISTINCT unit, movie, outside, 'similar title, director' AS found_by
    FROM by_director
    WHERE fits AND (
        (least(length(key), length(other)) >= 8 AND damerau_levenshtein(key, other) <= 2)
        OR (length(key) >= 8 AND starts_with(other, key || ' '))
        OR (length(other) >= 8 AND starts_with(key, other || ' '))
        OR (length(key) >= 8 AND ends_with(other, ' ' || key))
        OR (length(other) >= 8 AND ends_with(key, ' ' || other))
    )
    UNION
    SELECT DISTINCT unit, movie, outside, 'similar title, running time'
    FROM by_runtime
    WHERE fits AND least(length(key), length(other)) >= 8
        AND damerau_levenshtein(key, other) <= CASE WHEN least(length(key), length(other)) >= 14 THEN 2 ELSE 1 END
)
SELECT unit, any_value(movie) AS movie, any_value(outside) AS outside, min(found_by) AS found_by
FROM alike
GROUP BY unit
HAVING count(DISTINCT movie) = 1
