-- The columns that the catalog's main table has: none in a file without a catalog, and no `iceberg_type` in one made by
-- PyIceberg before 0.12.
-- Inputs: the database's own schema. Parameters: none.
SELECT name
FROM pragma_table_info('iceberg_tables');
