-- Table choices turned on its side: one row a movie and field that has a value.
CREATE TABLE chosen AS
SELECT * FROM (
    SELECT
        movie_id,
        unnest([
            {'field': 'tmdb_id', 'record': tmdb_id.record},
            {'field': 'movielens_id', 'record': movielens_id.record},
            {'field': 'wikidata_id', 'record': wikidata_id.record},
            {'field': 'title', 'record': title.record},
            {'field': 'original_title', 'record': original_title.record},
            {'field': 'year', 'record': year.record},
            {'field': 'kind', 'record': kind.record},
            {'field': 'genres', 'record': genres.record},
            {'field': 'directors', 'record': directors.record},
            {'field': 'cast', 'record': "cast".record},
            {'field': 'plot', 'record': plot.record},
            {'field': 'runtime', 'record': runtime.record},
            {'field': 'rating', 'record': rating.record},
            {'field': 'votes', 'record': votes.record}
        ], recursive := true)
    FROM choices
)
WHERE record IS NOT NULL
