-- As insert.sql, in a catalog whose main table has no column `iceberg_type`.
-- Inputs: iceberg_tables. Parameters: 1 catalog name, 2 namespace, 3 table name, 4 metadata location.
INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO NOTHING;
