//! What is listed for an interval, and what is not.

use jiff::{civil::date, tz::TimeZone};

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn hourly(zone_name: &str) -> RawTemplate {
    RawTemplate::parse("s3://raw/telemetry/{yyyy}/{MM}/{dd}/{HH}/", zone(zone_name)).unwrap()
}

fn interval(start: &str, end: &str) -> RawInterval {
    RawInterval { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

#[test]
fn a_day_has_the_folders_of_its_hours() {
    let template = hourly("UTC");
    let day = template.day(date(2025, 6, 4)).unwrap();
    assert_eq!(day, interval("2025-06-04T00:00Z", "2025-06-05T00:00Z"));
    let folders = template.prefixes(day).unwrap();
    assert_eq!(folders.len(), 24);
    assert_eq!(folders[0], ("s3://raw/telemetry/2025/06/04/00/".to_owned(), "2025-06-04T00:00Z".parse().unwrap()));
    assert_eq!(folders[23], ("s3://raw/telemetry/2025/06/04/23/".to_owned(), "2025-06-04T23:00Z".parse().unwrap()));
}

#[test]
fn where_the_clock_changes_a_day_has_23_or_25_hours() {
    let template = hourly("Europe/Berlin");
    let spring = template.day(date(2025, 3, 30)).unwrap();
    assert_eq!(spring, interval("2025-03-29T23:00Z", "2025-03-30T22:00Z"));
    let folders = template.prefixes(spring).unwrap();
    assert_eq!(folders.len(), 23);
    assert!(!folders.iter().any(|(folder, _)| folder.ends_with("/30/02/")));

    let autumn = template.day(date(2025, 10, 26)).unwrap();
    assert_eq!(autumn, interval("2025-10-25T22:00Z", "2025-10-26T23:00Z"));
    let folders = template.prefixes(autumn).unwrap();
    // 25 hours, of which two share a folder.
    assert_eq!(folders.len(), 24);
    assert!(folders.is_sorted());
    assert_eq!(folders[3], ("s3://raw/telemetry/2025/10/26/03/".to_owned(), "2025-10-26T02:00Z".parse().unwrap()));
}

#[test]
fn an_hour_of_which_half_is_skipped_has_its_folder() {
    // Lord Howe Island changes its clock by half an hour: 02:00 is 02:30 that day.
    let template = hourly("Australia/Lord_Howe");
    let folders = template.prefixes(template.day(date(2025, 10, 5)).unwrap()).unwrap();
    assert_eq!(folders.len(), 24);
    assert_eq!(folders[2], ("s3://raw/telemetry/2025/10/05/02/".to_owned(), "2025-10-04T15:30Z".parse().unwrap()));
    let folders = template.prefixes(template.day(date(2025, 4, 6)).unwrap()).unwrap();
    assert_eq!(folders.len(), 24);
}

#[test]
fn days_follow_each_other_without_gap_or_overlap() {
    for name in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago"]
    {
        let template = hourly(name);
        let mut day = date(2025, 1, 1);
        let mut folders = Vec::new();
        let year =
            RawInterval { start: template.day(day).unwrap().start, end: template.day(date(2025, 12, 31)).unwrap().end };
        while day.year() == 2025 {
            folders.extend(template.prefixes(template.day(day).unwrap()).unwrap());
            day = day.tomorrow().unwrap();
        }
        assert!(template.prefixes(year).unwrap() == folders, "{name}");
        let starts: Vec<Timestamp> = folders.iter().map(|folder| folder.1).collect();
        assert!(starts.is_sorted_by(|a, b| a < b), "{name}");
    }
}

#[test]
fn hive_names_and_any_other_text() {
    let cases = [
        ("s3://raw/year={yyyy}/month={MM}/day={dd}", "s3://raw/year=2025/month=06/day=04/"),
        ("s3://raw/dt={yyyy}-{MM}-{dd}/source=a/", "s3://raw/dt=2025-06-04/source=a/"),
        ("/data/raw/{yyyy}{MM}{dd}", "/data/raw/20250604/"),
    ];
    for (text, folder) in cases {
        let template = RawTemplate::parse(text, TimeZone::UTC).unwrap();
        assert_eq!(template.granularity(), Granularity::Day);
        let day = template.day(date(2025, 6, 4)).unwrap();
        assert_eq!(template.prefixes(day).unwrap(), [(folder.to_owned(), day.start)]);
    }
    let monthly = RawTemplate::parse("s3://raw/{yyyy}/{MM}/", TimeZone::UTC).unwrap();
    let folders = monthly.prefixes(interval("2024-11-01T00:00Z", "2025-03-01T00:00Z")).unwrap();
    assert_eq!(folders.last().unwrap().0, "s3://raw/2025/02/");
    assert_eq!(folders.len(), 4);
}

#[test]
fn templates_that_say_too_little_are_refused() {
    let cases = [
        ("s3://raw/telemetry/", "it has no {yyyy}: write for example {yyyy}/{MM}/{dd}/{HH}/"),
        ("s3://raw/{yyyy}/{dd}/", "{HH} needs {dd}, {dd} needs {MM}"),
        ("s3://raw/{yyyy}/{mm}/", "{mm} is not known; there are {yyyy}, {MM}, {dd} and {HH}"),
        ("s3://raw/{yyyy", "a `{` is not closed"),
        ("s3://raw/{yyyy}}", "a `}` was never opened"),
    ];
    for (text, reason) in cases {
        let error = RawTemplate::parse(text, TimeZone::UTC).unwrap_err();
        assert_eq!(error.to_string(), format!("use path template {text:?}: {reason}"));
        assert_eq!(error.kind(), crate::ErrorKind::Configuration);
    }
    assert!(RawTemplate::parse("s3://raw//{yyyy}", TimeZone::UTC).is_err());
}

#[test]
fn an_interval_that_cuts_a_folder_is_refused() {
    let error = hourly("UTC").prefixes(interval("2025-06-04T00:30Z", "2025-06-04T02:00Z")).unwrap_err();
    assert!(error.to_string().contains("such as 2025-06-04T00:00:00Z"), "{error}");
    assert!(hourly("UTC").prefixes(interval("2025-06-04T01:00Z", "2025-06-04T01:00Z")).is_err());
    assert!(hourly("Asia/Kolkata").prefixes(interval("2025-06-04T00:30Z", "2025-06-04T01:30Z")).is_ok());
}

#[tokio::test]
async fn a_listing_says_what_it_leaves_out() {
    let keep = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = keep.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for file in ["04/00/b 1.parquet", "04/00/sub/a", "04/23/c.parquet", "05/00/next", "03/23/before"] {
        write(&format!("2025/06/{file}"), "x");
    }
    for file in ["_SUCCESS", ".part.crc", "errors/x", "_tmp/y", "sub/.z/y"] {
        write(&format!("2025/06/04/01/{file}"), "x");
    }
    write("2025/06/04/01/empty", "");
    let storage = Storage::local();
    let root = format!("file://{}", keep.path().display());
    let template = RawTemplate::parse(&format!("{root}/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/"), TimeZone::UTC).unwrap();
    let listing = list(&storage, &template, template.day(date(2025, 6, 4)).unwrap()).await.unwrap();

    let below = |location: &String| location.strip_prefix(&format!("{root}/2025/06/04/")).unwrap().to_owned();
    let files: Vec<String> = listing.files.iter().map(|file| below(&file.location)).collect();
    assert_eq!(files, ["00/b 1.parquet", "00/sub/a", "23/c.parquet"]);
    assert_eq!(listing.files[2].partition_start, "2025-06-04T23:00Z".parse().unwrap());
    assert_eq!(listing.files[0].size, 1);
    let etag = listing.files[0].etag.as_deref().unwrap();
    assert_eq!(storage.read_if_match(&listing.files[0].location, etag).await.unwrap(), "x");
    let ignored: Vec<(String, IgnoredReason)> =
        listing.ignored.iter().map(|ignored| (below(&ignored.location), ignored.reason)).collect();
    let expected = [
        ("01/.part.crc", IgnoredReason::Hidden),
        ("01/_SUCCESS", IgnoredReason::Hidden),
        ("01/_tmp/y", IgnoredReason::Hidden),
        ("01/empty", IgnoredReason::Empty),
        ("01/errors/x", IgnoredReason::Errors),
        ("01/sub/.z/y", IgnoredReason::Hidden),
    ];
    assert_eq!(ignored, expected.map(|(path, reason)| (path.to_owned(), reason)));

    // Without a template: all of it, also from a folder whose own name would be ignored further down.
    write("_elsewhere/errors/x", "x");
    assert_eq!(discover(&storage, &root).await.unwrap().files.len(), 5);
    let found = discover(&storage, &format!("{root}/_elsewhere/errors/")).await.unwrap().files;
    assert_eq!((found.len(), found[0].partition_start), (1, found[0].last_modified));
}

#[test]
fn a_partition_reaches_to_the_next_one() {
    let template = hourly("Europe/Berlin");
    let partition = |text: &str| template.partition(text.parse().unwrap()).unwrap();
    assert_eq!(partition("2025-06-04T10:20:30Z"), interval("2025-06-04T10:00Z", "2025-06-04T11:00Z"));
    // The clock goes back at 01:00Z: both hours are called 02 there and share a folder.
    let twice = interval("2025-10-26T00:00Z", "2025-10-26T02:00Z");
    assert_eq!(partition("2025-10-26T00:30Z"), twice);
    assert_eq!(partition("2025-10-26T01:30Z"), twice);
}

/// What a template makes of a time is read back from a location, and nothing else is.
#[test]
fn a_location_says_when_it_arrived() {
    for (template, zone_name) in [
        ("s3://b/r/{yyyy}/{MM}/{dd}/{HH}/", "UTC"),
        ("s3://b/r/year={yyyy}/month={MM}/day={dd}", "Europe/Berlin"),
        ("s3://b/r/{yyyy}/", "Asia/Tokyo"),
    ] {
        let template = RawTemplate::parse(template, zone(zone_name)).unwrap();
        let start = template.partition("2025-06-04T13:30:00Z".parse().unwrap()).unwrap();
        let (folder, begins) = template.prefixes(start).unwrap().remove(0);
        let location = format!("{folder}a/b.parquet");
        assert_eq!(begins, start.start);
        assert_eq!(template.arrival(&location), Some((start, "a/b.parquet")), "{location}");
        assert_eq!(template.root(), "s3://b/r/");
        for other in [
            "s3://b/r/20x5/06/04/13/a",
            "s3://b/r/2025",
            "s3://b/s/2025/06/04/13/a",
            "s3://b/r/2025/13/04/13/a",
            "s3://b/r/yéar",
        ] {
            if !(other.contains("/2025/13") && template.granularity() == Granularity::Year) {
                assert_eq!(template.arrival(other), None, "{other}");
            }
        }
    }
}
