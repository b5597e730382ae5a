-- Purpose: the main job's merge said as one statement, to read, to EXPLAIN and to start one's own from.
--   The main job itself matches keys without joining rows, which takes a third of the time; tests hold the two to the same
--   result. What only the main job does: it remembers deletions of keys that are not there (tombstones).
-- Inputs: {batch}, valid rows, one for each key. It is written for the key (device_id, event_id), for
--   etl.dedupe.orderBy: ingest_time DESC and for etl.delete: op = 'D'.
-- Run by: etl merge.
MERGE INTO curated.telemetry AS t
USING {batch} AS s
ON t.device_id = s.device_id AND t.event_id = s.event_id
-- Newer than the table's row: a row without a time is older than every other.
WHEN MATCHED AND s.op = 'D' AND (s.ingest_time > t.ingest_time OR s.ingest_time IS NOT NULL AND t.ingest_time IS NULL) THEN
  DELETE
WHEN MATCHED AND (s.ingest_time > t.ingest_time OR s.ingest_time IS NOT NULL AND t.ingest_time IS NULL) THEN
  UPDATE SET event_time = s.event_time, temperature = s.temperature, ingest_time = s.ingest_time, op = s.op
WHEN NOT MATCHED AND s.op IS DISTINCT FROM 'D' THEN
  INSERT (device_id, event_id, event_time, temperature, ingest_time, op)
  VALUES (s.device_id, s.event_id, s.event_time, s.temperature, s.ingest_time, s.op)
