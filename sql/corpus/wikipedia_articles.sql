-- Articles that Wikidata ties to an IMDb id. The section on the plot tells the story; the lead, where there is no such section, at least what it is about.
CREATE TABLE wikipedia_articles AS
SELECT
    'wikipedia' AS source,
    item AS source_id,
    imdb AS imdb_id,
    item AS wikidata_id,
    title,
    year,
    string_split_regex(nullif(regexp_extract(extract, $directed_by, 1), ''), ',? and |, ') AS directors,
    coalesce(nullif(plot, ''), extract) AS plot
FROM read_json($paths, format = 'newline_delimited', ignore_errors = true, columns = $columns)
