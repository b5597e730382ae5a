-- Every table and view of the catalog, with all columns for the same reason as in load.sql.
-- Inputs: iceberg_tables. Parameters: 1 catalog name.
SELECT *
FROM iceberg_tables
WHERE catalog_name = ?1
ORDER BY table_namespace, table_name;
