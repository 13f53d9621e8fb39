CREATE TABLE ggplot2movies AS
SELECT
    'ggplot2movies' AS source,
    rownames AS source_id,
    title,
    try_cast(year AS BIGINT) AS year,
    [
        flag.genre FOR flag IN [
            {'genre': 'Action', 'is': Action},
            {'genre': 'Animation', 'is': Animation},
            {'genre': 'Comedy', 'is': Comedy},
            {'genre': 'Drama', 'is': Drama},
            {'genre': 'Documentary', 'is': Documentary},
            {'genre': 'Romance', 'is': Romance}
        ] IF flag.is = '1'
    ] AS genres,
    nullif(try_cast(length AS BIGINT), 0) AS runtime,
    try_cast(rating AS DOUBLE) AS rating,
    try_cast(votes AS BIGINT) AS votes,
    Short = '1' AS short
FROM read_csv(
    $paths, delim = ',', quote = '"', escape = '"', header = true, auto_detect = false, columns = $columns, store_rejects = true
)
