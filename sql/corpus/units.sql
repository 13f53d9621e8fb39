-- What the matching compares. batch 0 has an IMDb id and is believed; the others are matched batch by batch, against all before them.
CREATE TABLE units AS
WITH facts AS (
    SELECT
        unit,
        unit LIKE 'tt%' AS known,
        NULL AS outside,
        min(precedence.matching * 10 + coalesce(list_position($catalogues, split_part(claims.source_id, '/', 1)), 0)) AS batch,
        first(claims.runtime ORDER BY precedence.runtime, claims.source_id) FILTER (claims.runtime IS NOT NULL) AS runtime,
        max(votes) AS votes
    FROM claims
    JOIN identified USING (record)
    JOIN precedence ON precedence.source = claims.source
    GROUP BY unit
    UNION ALL
    SELECT source_id, true, kind, 0, runtime, votes FROM excluded
)
SELECT
    unit,
    CASE WHEN known THEN 0 ELSE batch END AS batch,
    outside,
    runtime,
    coalesce(votes, 0) AS votes,
    coalesce(directors, []) AS directors,
    coalesce("cast", []) AS "cast"
FROM facts
LEFT JOIN unit_people USING (unit)
