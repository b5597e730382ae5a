-- Purpose: what the demo shows of its table, one row a day.
-- Inputs: curated.telemetry.
-- Parameters: none; the demo's days are fixed, and the bound keeps to the rule that a partitioned table is not read whole.
SELECT CAST(event_time AS DATE) AS day, count(*) AS events, count(DISTINCT device_id) AS devices, round(avg(temperature), 1) AS degrees FROM curated.telemetry WHERE event_time >= '2025-06-01' GROUP BY 1 ORDER BY 1
