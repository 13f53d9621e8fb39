-- Names of the people of every unit that bears the title of a unit without an IMDb id: the only ones that are compared.
WITH loose AS (
    SELECT DISTINCT key FROM unit_keys WHERE unit NOT LIKE 'tt%'
),
namesakes AS (
    SELECT DISTINCT unit FROM unit_keys JOIN loose USING (key)
),
names AS (
    SELECT unnest(directors || "cast") AS text FROM claims JOIN identified USING (record) JOIN namesakes USING (unit)
    UNION ALL
    SELECT unnest(directors || "cast") FROM excluded JOIN namesakes ON unit = source_id
)
SELECT DISTINCT text FROM names WHERE text IS NOT NULL ORDER BY text
