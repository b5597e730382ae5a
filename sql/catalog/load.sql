-- Where one table stands. All columns: `iceberg_type`, where there is one, tells views from tables.
-- Inputs: iceberg_tables. Parameters: 1 catalog name, 2 namespace, 3 table name.
SELECT *
FROM iceberg_tables
WHERE catalog_name = ?1
    AND table_namespace = ?2
    AND table_name = ?3;
