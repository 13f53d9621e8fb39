INSERT INTO resolved SELECT unit, movie, found_by, outside FROM matched
