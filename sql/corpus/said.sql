-- What every record says of a movie that several describe, one row a field, as text that a person can read and as text that can be compared: lists as sets, titles without regard to case.
CREATE TABLE said AS
WITH contested AS (
    SELECT movie AS movie_id, record
    FROM placed
    WHERE left_out IS NULL AND found_by != 'ambiguous'
    QUALIFY count(*) OVER (PARTITION BY movie) > 1
),
statements AS (
    SELECT
        movie_id,
        record,
        source,
        unnest([
            {'field': 'tmdb_id', 'value': tmdb_id::VARCHAR, 'compared': tmdb_id::VARCHAR},
            {'field': 'movielens_id', 'value': movielens_id::VARCHAR, 'compared': movielens_id::VARCHAR},
            {'field': 'wikidata_id', 'value': wikidata_id, 'compared': wikidata_id},
            {'field': 'title', 'value': title, 'compared': lower(title)},
            {'field': 'original_title', 'value': original_title, 'compared': lower(original_title)},
            {'field': 'year', 'value': year::VARCHAR, 'compared': year::VARCHAR},
            {'field': 'kind', 'value': kind, 'compared': kind},
            {'field': 'genres', 'value': array_to_string(genres, ', '), 'compared': array_to_string(list_sort(genres), '|')},
            {'field': 'directors', 'value': array_to_string(directors, ', '), 'compared': array_to_string(list_sort(directors), '|')},
            {'field': 'cast', 'value': array_to_string("cast", ', '), 'compared': array_to_string(list_sort("cast"), '|')},
            {'field': 'plot', 'value': plot[:81], 'compared': plot[:81]},
            {'field': 'runtime', 'value': runtime::VARCHAR, 'compared': runtime::VARCHAR},
            {'field': 'rating', 'value': rating::VARCHAR, 'compared': rating::VARCHAR},
            {'field': 'votes', 'value': votes::VARCHAR, 'compared': votes::VARCHAR}
        ], recursive := true)
    FROM contested
    JOIN claims USING (record)
)
SELECT * FROM statements WHERE value != ''
