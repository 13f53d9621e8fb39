-- Titles that must stay out, with what is known of them, each once, and none that is kept.
CREATE TABLE imdb_excluded AS
SELECT * EXCLUDE (kept)
FROM imdb
WHERE NOT kept AND source_id NOT IN (SELECT source_id FROM imdb WHERE kept)
QUALIFY row_number() OVER (PARTITION BY source_id ORDER BY title, year, kind, votes) = 1
