-- The data files in which the rows of duplicate keys lie.
--
-- Inputs: {table}, the table with its column `_file`; duplicates, what duplicate_keys.sql gave, numbered by `_key`.
-- Parameters: {same_key}, the comparison of the key's columns, in which NULL equals NULL.
-- Gives: `_key` and `_file`, each pair once.
SELECT DISTINCT duplicates._key, rows._file
FROM {table} AS rows
JOIN duplicates ON {same_key}
ORDER BY duplicates._key, rows._file
