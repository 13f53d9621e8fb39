-- Names of the people who are credited, and of nobody else: name.basics lists 14 million.
CREATE TABLE imdb_names AS
SELECT nconst, min(primaryName) AS name
FROM read_csv(
    $paths, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', auto_detect = false, columns = $columns, store_rejects = true
)
WHERE primaryName IS NOT NULL
    AND nconst IN (SELECT nconst FROM imdb_directors UNION ALL SELECT nconst FROM imdb_principals)
GROUP BY nconst
