-- Normalised titles of every unit with the years that go with them; titles that must stay out are units too, so that records can be told to be theirs.
CREATE TABLE unit_keys AS
WITH titles AS (
    SELECT unit, title, year FROM claims JOIN identified USING (record)
    UNION ALL
    SELECT unit, original_title, year FROM claims JOIN identified USING (record)
    UNION ALL
    SELECT source_id, title, year FROM excluded
    UNION ALL
    SELECT source_id, original_title, year FROM excluded
)
SELECT DISTINCT unit, key, year
FROM titles
JOIN title_keys ON title_keys.text = titles.title
