-- Leading cast of title.principals, and its directors for titles that title.crew lacks. Titles of the excluded kinds keep theirs too:
-- people tell a film from a short of the same name.
CREATE TABLE imdb_principals AS
SELECT tconst, nconst, category = 'director' AS directs, try_cast(ordering AS BIGINT) AS place
FROM read_csv(
    $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
)
WHERE category IN ('actor', 'actress', 'self', 'director')
    AND tconst IN (SELECT tconst FROM imdb_titles)
