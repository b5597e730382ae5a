-- The compare-and-swap: moves a table's pointer if it still is what was expected, in one statement. No row affected
-- means that another writer was first.
-- Inputs: iceberg_tables. Parameters: 1 catalog name, 2 namespace, 3 table name, 4 expected metadata location,
-- 5 new metadata location.
UPDATE iceberg_tables
SET metadata_location = ?5,
    previous_metadata_location = ?4
WHERE catalog_name = ?1
    AND table_namespace = ?2
    AND table_name = ?3
    AND metadata_location = ?4;
