-- Whom to believe, field by field: the lowest number wins; no number, never. One row a source, so that a person can read and change it.
--   title, year, kind: IMDb is the authority that ids refer to; MovieLens' and the 2005 snapshot's years are copies of IMDb's, so they come last.
--   people: IMDb's credits are complete and in billing order; what a lead of an article says of directors is read by a pattern, hence last.
--   plot: written as summaries (TMDB, OMDb, streaming) before leads of articles, which mostly repeat title, year and cast.
--   rating, votes: IMDb's own numbers, then copies of them by age.
--   matching: order in which records without ids are matched, those that name people first, since others can then be compared with them.
CREATE TABLE precedence AS
SELECT * FROM (
    VALUES
    ('imdb', 1, 1, 1, 1, 1, 1, NULL, 1, 1, 0),
    ('tmdb', 2, 2, 2, 2, 2, 2, 1, 2, NULL, 1),
    ('omdb', 3, NULL, 3, 3, 3, 3, 2, 3, 2, 2),
    ('wikidata', 5, 4, 4, NULL, NULL, NULL, NULL, NULL, NULL, 3),
    ('wikipedia', 4, NULL, 5, 5, 5, 4, 4, NULL, NULL, 4),
    ('streaming', 6, NULL, 8, 6, 4, 5, 3, 4, NULL, 5),
    ('movielens', 7, 3, 6, 4, NULL, NULL, NULL, NULL, NULL, 6),
    ('ggplot2movies', 8, NULL, 7, 7, NULL, NULL, NULL, 5, 3, 7)
) AS ranks (source, title, original_title, year, genres, directors, "cast", plot, runtime, rating, matching)
