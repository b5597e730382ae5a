//! Telemetry as it really arrives: redelivered, corrected, late and broken. The same rows on every machine.

use std::{fs, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use crate::error::{JobError, Kind, Result};

const DEVICES: u64 = 400;
const EVENTS_PER_HOUR: u64 = 780;
const HOUR_MICROS: i64 = 3_600_000_000;

/// One event as its file has it; NULLs included.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    tenant_id: Option<String>,
    device_id: Option<String>,
    event_id: String,
    event_time_micros: i64,
    ingest_time_micros: i64,
    event_type: String,
    temperature: Option<f64>,
    humidity: f64,
    battery: f64,
}

/// Writes the raw files of a day, one or two an hour, unless they are there.
pub fn write_day(root: &Path, day: Date) -> Result<()> {
    for hour in 0..24 {
        let folder = root.join(day.strftime("%Y/%m/%d").to_string()).join(format!("{hour:02}"));
        fs::create_dir_all(&folder).map_err(|source| JobError::file("make folder", &folder, &source))?;
        write(&folder.join("telemetry-1.parquet"), || hour_events(day, hour))?;
        if hour % 3 == 0 {
            write(&folder.join("telemetry-2.parquet"), || redelivered(day, hour))?;
        }
    }
    // What others leave behind in a raw zone, and is no input.
    let marker = root.join(day.strftime("%Y/%m/%d/23/_SUCCESS").to_string());
    fs::write(&marker, b"").map_err(|source| JobError::file("write", &marker, &source))
}

/// The events of an hour, with some late ones of the day before and some broken ones.
fn hour_events(day: Date, hour: u8) -> Vec<Event> {
    let start = micros(day) + i64::from(hour) * HOUR_MICROS;
    let mut chance = Chance::new(start);
    let mut events: Vec<Event> = (0..EVENTS_PER_HOUR).map(|number| event(start, number, &mut chance)).collect();
    for index in 0..events.len() {
        match chance.below(1_000) {
            // Buffered on the device while it had no network: events of the day before.
            0..8 => events[index].event_time_micros -= 24 * HOUR_MICROS,
            8..20 => break_rule(&mut events[index], &mut chance),
            // Delivered twice into one file.
            20..45 => events.push(events[index].clone()),
            _ => {}
        }
    }
    events
}

/// Events of the hour before in a second file: redelivered as they were, corrected, or an old version of them.
fn redelivered(day: Date, hour: u8) -> Vec<Event> {
    let (earlier_day, earlier_hour) = match hour {
        0 => (day.yesterday().unwrap_or(day), 23),
        hour => (day, hour - 1),
    };
    let mut chance = Chance::new(micros(day) + i64::from(hour) + 1);
    let mut events = Vec::new();
    for mut event in hour_events(earlier_day, earlier_hour) {
        match chance.below(100) {
            0..12 => {}
            12..16 => {
                event.temperature = event.temperature.map(|degrees| round(degrees + 0.5));
                event.ingest_time_micros += HOUR_MICROS;
            }
            16..18 => {
                event.temperature = Some(0.0);
                event.ingest_time_micros -= HOUR_MICROS;
            }
            _ => continue,
        }
        events.push(event);
    }
    events
}

fn event(start: i64, number: u64, chance: &mut Chance) -> Event {
    let device = chance.below(DEVICES);
    let offset = i64::try_from(chance.below(3_600_000)).unwrap_or(0) * 1_000;
    Event {
        tenant_id: Some(format!("tenant-{}", device % 7)),
        device_id: Some(format!("device-{device:04}")),
        event_id: format!("{}-{number}", start / HOUR_MICROS),
        event_time_micros: start + offset,
        ingest_time_micros: start + offset + i64::try_from(chance.below(60_000)).unwrap_or(0) * 1_000,
        event_type: ["reading", "reading", "reading", "heartbeat", "alert"][chance.below(5) as usize].to_owned(),
        temperature: Some(round(5.0 + chance.share() * 25.0)),
        humidity: round(30.0 + chance.share() * 50.0),
        battery: round(chance.share() * 100.0),
    }
}

/// One of the ways in which devices are wrong.
fn break_rule(event: &mut Event, chance: &mut Chance) {
    match chance.below(6) {
        0 => event.temperature = Some(999.9),
        1 => event.humidity = -4.0,
        2 => event.tenant_id = None,
        3 => event.device_id = None,
        // A clock that was never set.
        4 => event.event_time_micros %= 24 * HOUR_MICROS,
        _ => {
            event.battery = f64::NAN;
            event.temperature = Some(-273.2);
        }
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn micros(day: Date) -> i64 {
    day.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp()).as_microsecond()
}

fn write(path: &Path, events: impl FnOnce() -> Vec<Event>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let failed = |error: &dyn std::error::Error| {
        JobError::new(Kind::Failed, format!("failed to write {}: {error}", path.display()))
    };
    let batch = batch(&events()).map_err(|error| failed(&error))?;
    // Under its name only when it is whole.
    let unfinished = path.with_extension("unfinished");
    let file = fs::File::create(&unfinished).map_err(|source| JobError::file("write", &unfinished, &source))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|error| failed(&error))?;
    writer.write(&batch).map_err(|error| failed(&error))?;
    writer.close().map_err(|error| failed(&error))?;
    fs::rename(&unfinished, path).map_err(|source| JobError::file("write", path, &source))
}

fn batch(events: &[Event]) -> arrow::error::Result<RecordBatch> {
    let texts =
        |value: fn(&Event) -> Option<&str>| -> ArrayRef { Arc::new(events.iter().map(value).collect::<StringArray>()) };
    let numbers =
        |value: fn(&Event) -> Option<f64>| -> ArrayRef { Arc::new(events.iter().map(value).collect::<Float64Array>()) };
    let times = |value: fn(&Event) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(value)).with_timezone("UTC"))
    };
    let columns: [(&str, ArrayRef); 12] = [
        ("tenant_id", texts(|event| event.tenant_id.as_deref())),
        ("device_id", texts(|event| event.device_id.as_deref())),
        ("event_id", texts(|event| Some(&event.event_id))),
        ("event_time", times(|event| event.event_time_micros)),
        ("ingest_time", times(|event| event.ingest_time_micros)),
        ("event_type", texts(|event| Some(&event.event_type))),
        ("location", texts(|_| Some("hall 4"))),
        ("temperature", numbers(|event| event.temperature)),
        ("humidity", numbers(|event| Some(event.humidity))),
        ("pressure", numbers(|_| Some(1_013.2))),
        ("battery", numbers(|event| Some(event.battery))),
        ("firmware", texts(|_| Some("2.4.1"))),
    ];
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, column)| match column.data_type() {
            DataType::Timestamp(..) => Field::new(*name, time.clone(), true),
            data_type => Field::new(*name, data_type.clone(), true),
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
}

/// Numbers that look random and are the same everywhere: SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn new(seed: i64) -> Self {
        Self(seed.cast_unsigned())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn share(&mut self) -> f64 {
        self.below(1_000_000) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_the_same_every_time_and_has_all_kinds_of_dirt() {
        let day = jiff::civil::date(2025, 6, 3);
        let events = hour_events(day, 5);
        assert_eq!(format!("{events:?}"), format!("{:?}", hour_events(day, 5)));
        let day_events: Vec<_> = (0..24).flat_map(|hour| hour_events(day, hour)).collect();
        assert!(day_events.iter().any(|event| event.tenant_id.is_none()));
        assert!(day_events.iter().any(|event| event.battery.is_nan()));
        assert!(day_events.iter().any(|event| (1..micros(day)).contains(&event.event_time_micros)));
        assert!(events.len() > usize::try_from(EVENTS_PER_HOUR).unwrap());
    }
}
