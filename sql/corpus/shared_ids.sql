-- For every id of another register the IMDb id that it stands for, from the records that give both. Where they disagree the register's own
-- record is believed.
CREATE TABLE shared_ids AS
WITH pairs AS (
    SELECT 'tmdb' AS register, tmdb_id::VARCHAR AS id, imdb_id, source FROM claims WHERE tmdb_id IS NOT NULL
    UNION ALL
    SELECT 'movielens', movielens_id::VARCHAR, imdb_id, source FROM claims WHERE movielens_id IS NOT NULL
    UNION ALL
    SELECT 'wikidata', wikidata_id, imdb_id, source FROM claims WHERE wikidata_id IS NOT NULL
)
SELECT register, id, first(imdb_id ORDER BY source != register, precedence.title, imdb_id) AS imdb_id
FROM pairs
JOIN precedence USING (source)
WHERE imdb_id IS NOT NULL
GROUP BY register, id
