-- One record a title, kept or not (column kept), with the names of its people: directors in the order of title.crew, then those
-- that only title.principals has; cast in billing order.
CREATE TABLE imdb AS
WITH credits AS (
    SELECT tconst, nconst, true AS directs, place FROM imdb_directors
    UNION ALL
    SELECT tconst, nconst, directs, CASE WHEN directs THEN 1000 + place ELSE place END FROM imdb_principals
),
credited AS (
    SELECT tconst, list_sort(list({'place': place, 'name': name, 'directs': directs})) AS people
    FROM credits
    JOIN imdb_names USING (nconst)
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
    string_split(genres, ',') AS genres,
    [person.name FOR person IN people IF person.directs] AS directors,
    [person.name FOR person IN people IF NOT person.directs] AS "cast",
    runtime,
    rating,
    votes,
    kept
FROM imdb_titles
LEFT JOIN imdb_ratings USING (tconst)
LEFT JOIN credited USING (tconst)
