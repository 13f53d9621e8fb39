CREATE TABLE unit_people AS
WITH people AS (
    SELECT unit, 'director' AS role, unnest(directors) AS name FROM claims JOIN identified USING (record)
    UNION ALL
    SELECT unit, 'cast', unnest("cast") FROM claims JOIN identified USING (record)
    UNION ALL
    SELECT source_id, 'director', unnest(directors) FROM excluded
    UNION ALL
    SELECT source_id, 'cast', unnest("cast") FROM excluded
)
SELECT
    unit,
    coalesce(list(DISTINCT key) FILTER (role = 'director'), []) AS directors,
    coalesce(list(DISTINCT key) FILTER (role = 'cast'), []) AS "cast"
FROM people
JOIN name_keys ON name_keys.text = people.name
GROUP BY unit
