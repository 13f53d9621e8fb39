-- Titles that must be compared under their normal form: all of them where any record came without an id that IMDb's files know, else only those of movies that several records describe (they may be aliases).
WITH shared AS (
    SELECT unit FROM identified GROUP BY unit HAVING count(*) > 1
),
loose AS (
    SELECT bool_or(unit NOT LIKE 'tt%') AS is_there FROM identified
),
titles AS (
    SELECT unnest([title, original_title]) AS text
    FROM claims
    JOIN identified USING (record)
    WHERE (SELECT is_there FROM loose) OR unit IN (SELECT unit FROM shared)
    UNION ALL
    SELECT unnest([title, original_title]) FROM excluded WHERE (SELECT is_there FROM loose)
)
SELECT DISTINCT text FROM titles WHERE text IS NOT NULL ORDER BY text
