-- Registers a namespace the way PyIceberg does: a namespace is one that has a property.
-- Inputs: iceberg_namespace_properties. Parameters: 1 catalog name, 2 namespace.
INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
VALUES (?1, ?2, 'exists', 'true')
ON CONFLICT DO NOTHING;
