-- Keys that more than one live row of a table has.
--
-- Inputs: {table}, the table with its column `_file`.
-- Parameters: {keys}, the key's columns, quoted; $limit, how many keys to give at most.
-- Gives: the key's columns, then `_rows`, the number of rows; most rows first.
SELECT {keys}, count(*) AS _rows
FROM {table}
GROUP BY {keys}
HAVING count(*) > 1
ORDER BY _rows DESC, {keys}
LIMIT $limit
