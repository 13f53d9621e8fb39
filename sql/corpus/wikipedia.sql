-- The lead of an article names the directors ("... is a 1990 film directed by Renny Harlin and written by ..."); the files have no field for them.
CREATE TABLE wikipedia AS
SELECT
    'wikipedia' AS source,
    coalesce(nullif(href, ''), title) || ' (' || coalesce(year, 0) || ')' AS source_id,
    title,
    year,
    genres,
    string_split_regex(
        nullif(
            regexp_extract(
                extract,
                $directed_by,
                1
            ),
            ''
        ),
        ',? and |, '
    ) AS directors,
    "cast"[:10] AS "cast",
    extract AS plot
FROM read_json($paths, format = 'array', columns = $columns, filename = true)
