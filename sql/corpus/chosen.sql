-- Table choices turned on its side: one row a movie and field that has a value. `place` orders the rows by movie and field, as a number since that is compared quicker.
CREATE TABLE chosen AS
SELECT movie_id, field, record, number * 16 + place AS place FROM (
    SELECT
        movie_id,
        row_number() OVER (ORDER BY movie_id) AS number,
        unnest([
            {'field': 'tmdb_id', 'place': 0, 'record': tmdb_id.record},
            {'field': 'movielens_id', 'place': 1, 'record': movielens_id.record},
            {'field': 'wikidata_id', 'place': 2, 'record': wikidata_id.record},
            {'field': 'title', 'place': 3, 'record': title.record},
            {'field': 'original_title', 'place': 4, 'record': original_title.record},
            {'field': 'year', 'place': 5, 'record': year.record},
            {'field': 'kind', 'place': 6, 'record': kind.record},
            {'field': 'genres', 'place': 7, 'record': genres.record},
            {'field': 'directors', 'place': 8, 'record': directors.record},
            {'field': 'cast', 'place': 9, 'record': "cast".record},
            {'field': 'plot', 'place': 10, 'record': plot.record},
            {'field': 'runtime', 'place': 11, 'record': runtime.record},
            {'field': 'rating', 'place': 12, 'record': rating.record},
            {'field': 'votes', 'place': 13, 'record': votes.record}
        ], recursive := true)
    FROM choices
)
WHERE record IS NOT NULL
