-- Pairs of movies that are likely one film: the same normalised title, years at most one apart, and a director or two of the cast in common.
-- A measure of the merge, not a part of it: some pairs are two films all the same (a short and its long version, two parts released at once).
WITH listed AS (
    SELECT movie_id, unnest(directors) AS person, 'director' AS part FROM movies
    UNION ALL
    SELECT movie_id, unnest("cast"), 'cast' FROM movies
),
people AS (
    SELECT DISTINCT movie_id, part, name_keys.key AS person
    FROM listed
    JOIN name_keys ON name_keys.text = listed.person
),
pairs AS (
    SELECT one.movie_id, other.movie_id AS other_id, one.title, other.title AS other_title, one.year, other.year AS other_year
    FROM movies AS one
    JOIN movies AS other ON other.key = one.key AND other.movie_id > one.movie_id AND abs(other.year - one.year) <= 1
),
shared AS (
    SELECT
        pairs.movie_id,
        pairs.other_id,
        count(*) FILTER (one.part = 'director') AS shared_directors,
        count(*) FILTER (one.part = 'cast') AS shared_cast
    FROM pairs
    JOIN people AS one ON one.movie_id = pairs.movie_id
    JOIN people AS other ON other.movie_id = pairs.other_id AND other.part = one.part AND other.person = one.person
    GROUP BY ALL
)
SELECT pairs.*, shared_directors, shared_cast
FROM shared
JOIN pairs USING (movie_id, other_id)
WHERE shared_directors >= 1 OR shared_cast >= 2
ORDER BY movie_id, other_id
