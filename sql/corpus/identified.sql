-- Step 1: records that share an id are one unit. A unit is named by its IMDb id, else by its TMDB id, else by its record.
CREATE TABLE identified AS
SELECT
    claims.record,
    claims.source,
    coalesce(
        claims.imdb_id,
        by_tmdb.imdb_id,
        by_wikidata.imdb_id,
        by_movielens.imdb_id,
        'tmdb:' || claims.tmdb_id,
        claims.source || ':' || claims.source_id
    ) AS unit
FROM claims
LEFT JOIN shared_ids AS by_tmdb ON by_tmdb.register = 'tmdb' AND by_tmdb.id = claims.tmdb_id::VARCHAR
LEFT JOIN shared_ids AS by_wikidata ON by_wikidata.register = 'wikidata' AND by_wikidata.id = claims.wikidata_id
LEFT JOIN shared_ids AS by_movielens ON by_movielens.register = 'movielens' AND by_movielens.id = claims.movielens_id::VARCHAR
