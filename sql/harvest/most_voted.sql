-- IMDb ids of films in the order in which most people care for them.
SELECT basics.tconst
FROM read_csv(
    $basics, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', all_varchar = true, ignore_errors = true
) AS basics
JOIN read_csv(
    $ratings, delim = '\t', quote = '', escape = '', header = true, nullstr = '\N', all_varchar = true, ignore_errors = true
) AS ratings ON ratings.tconst = basics.tconst
WHERE basics.titleType IN ('movie', 'tvMovie', 'video') AND basics.isAdult = '0'
ORDER BY try_cast(ratings.numVotes AS BIGINT) DESC NULLS LAST, basics.tconst
