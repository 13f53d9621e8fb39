-- One record a title, kept or not (column kept), with the names of its people.
CREATE TABLE imdb AS
WITH directed AS (
    SELECT tconst, nconst, place FROM imdb_directors
    UNION ALL
    SELECT tconst, nconst, 1000 + place FROM imdb_principals WHERE directs
),
directors AS (
    SELECT tconst, list(name ORDER BY place, name) AS names
    FROM (SELECT tconst, name, min(place) AS place FROM directed JOIN imdb_names USING (nconst) GROUP BY ALL)
    GROUP BY tconst
),
actors AS (
    SELECT tconst, list(name ORDER BY place, name)[:10] AS names
    FROM (SELECT tconst, name, min(place) AS place FROM imdb_principals JOIN imdb_names USING (nconst) WHERE NOT directs GROUP BY ALL)
    GROUP BY tconst
)
SELECT
    'imdb' AS source,
    tconst AS source_id,
    tconst AS imdb_id,
    title,
    original_title,
    year,
    kind,
    genres,
    directors.names AS directors,
    actors.names AS "cast",
    runtime,
    rating,
    votes,
    kept,
    adult
FROM imdb_titles
LEFT JOIN imdb_ratings USING (tconst)
LEFT JOIN directors USING (tconst)
LEFT JOIN actors USING (tconst)
