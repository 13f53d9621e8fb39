-- Titles of which only the id is wanted, each once, and none that is kept.
CREATE TABLE imdb_ids AS
SELECT tconst, min(kind) AS kind
FROM imdb_listed
WHERE titled AND NOT described AND tconst NOT IN (SELECT tconst FROM imdb_listed WHERE described)
GROUP BY tconst
