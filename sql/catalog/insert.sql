-- Registers a table, unless one of this name is there: then no row is affected.
-- Inputs: iceberg_tables. Parameters: 1 catalog name, 2 namespace, 3 table name, 4 metadata location.
INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
VALUES (?1, ?2, ?3, ?4, 'TABLE')
ON CONFLICT DO NOTHING;
