SELECT source, coalesce('left out: ' || left_out, 'matched by ' || found_by) AS what, count(*) AS records
FROM placed
GROUP BY ALL
ORDER BY ALL
