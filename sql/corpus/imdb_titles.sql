-- The titles that more than the id is wanted of: a third of IMDb's twelve million.
CREATE TABLE imdb_titles AS
SELECT * EXCLUDE (described, titled, adult) FROM imdb_listed WHERE described
