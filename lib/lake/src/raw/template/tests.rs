//! From a path to its time and back.

use jiff::{SignedDuration, civil::date};

use super::*;

fn template(text: &str, zone: &str) -> RawTemplate {
    RawTemplate::parse(text, TimeZone::get(zone).unwrap()).unwrap()
}

fn hourly(zone: &str) -> RawTemplate {
    template("s3://raw/telemetry/{yyyy}/{MM}/{dd}/{HH}/", zone)
}

fn interval(start: &str, end: &str) -> RawInterval {
    RawInterval { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

/// The folders that are listed with all below them.
fn deep(template: &RawTemplate, interval: RawInterval) -> Vec<String> {
    let looks = template.looks(interval).unwrap().into_iter();
    looks
        .filter_map(|look| match look {
            Look::Deep(folder) => Some(folder),
            Look::Shallow { .. } => None,
        })
        .collect()
}

/// Each layout that people have, below `s3://b/r/`.
const LAYOUTS: [&str; 22] = [
    "{yyyy}/{MM}/{dd}/{HH}/",
    "{yyyy}/{M}/{d}/{H}/",
    "{yyyy}/{MM}/{dd}",
    "{yyyy}/{MM}/",
    "{yyyy}/",
    "year={yyyy}/month={M}/day={d}/",
    "YEAR={yyyy}/Month={MM}/dAy={dd}/hour={H}/",
    "dt={yyyy}{MM}{dd}/",
    "dt={yyyy}{MM}{dd}{HH}",
    "dt={yyyy}-{MM}-{dd}/hour={H}/",
    "dt%3D{yyyy}-{MM}-{dd}/",
    "{yyyy}-{MM}-{dd}T{HH}/",
    "{yyyy}\\{MM}\\{dd}/",
    "*/{yyyy}/{MM}/{dd}/{HH}/",
    "{yyyy}/{MM}/{dd}/*/",
    "{yyyy}/{MM}/*/{dd}/{HH}/",
    "device=*/dt={yyyy}-{MM}-{dd}/*/part-",
    "{yyyy}-{MM}-{dd}.parquet",
    "events-{yyyy}{MM}{dd}-*.parquet",
    "{yyyy}/{MM}/events-{yyyy}{MM}{dd}T{HH}*.parquet",
    "eu west/größe #1/100%/{yyyy}/{MM}/{dd}/",
    "{dd}.{MM}.{yyyy}/",
];

/// With gaps and repeats at any hour, of half an hour, at midnight, and of a whole day.
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Apia",
];

/// Instants that change the clock of some zone, and many others.
fn instants() -> impl Iterator<Item = Timestamp> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let random = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Timestamp::from_second(i64::try_from(state % 5_000_000_000).unwrap() - 500_000_000).unwrap()
    });
    let hours = |from: &str, count: i64| {
        let from: Timestamp = from.parse().unwrap();
        (0..count).map(move |n| from + SignedDuration::from_mins(30 * n))
    };
    random
        .take(300)
        .chain(hours("2025-03-29T20:00Z", 24))
        .chain(hours("2025-10-25T20:00Z", 24))
        .chain(hours("2025-04-05T10:00Z", 48))
        .chain(hours("2025-09-06T20:00Z", 24))
        .chain(hours("2011-12-29T06:00Z", 100))
        .chain(hours("2025-10-04T12:00Z", 24))
}

#[test]
fn every_time_is_read_back_from_its_path() {
    for layout in LAYOUTS {
        for zone in ZONES {
            let template = template(&format!("s3://b/r/{layout}"), zone);
            for instant in instants() {
                let partition = template.partition(instant).unwrap();
                assert!(partition.start <= instant && instant < partition.end, "{layout} {zone} {instant}");
                let civil = template.partition_of(instant).unwrap().0;
                let path = format!("{}{}", template.root(), template.pattern.path(civil, "any=1", "sub/f.parquet"));
                let Place::In { partition: read, below, hidden: None } = template.place(&path) else {
                    panic!("{layout} {zone} {instant} {path}: {:?}", template.place(&path));
                };
                assert_eq!(read, partition, "{layout} {zone} {instant} {path}");
                assert!(path.ends_with(below) && below.len() >= "f.parquet".len(), "{path} {below}");
                // What is listed for the partition holds the path.
                let folders = deep(&template, partition);
                assert!(folders.iter().any(|folder| path.starts_with(folder)), "{path} is in none of {folders:?}");
            }
        }
    }
}

#[test]
fn a_time_that_does_not_exist_is_never_another_one() {
    let no_time = |layout: &str, zone: &str, paths: &[&str]| {
        let template = template(&format!("s3://b/r/{layout}"), zone);
        for path in paths {
            assert_eq!(template.place(&format!("s3://b/r/{path}")), Place::NoSuchTime, "{layout} {zone} {path}");
        }
    };
    let dates = ["2025/06/31/x", "2025/02/29/x", "2025/00/10/x", "2025/13/10/x", "2025/06/00/x", "2025/99/99/x"];
    for zone in ZONES {
        no_time("{yyyy}/{MM}/{dd}/", zone, &dates);
        no_time("{yyyy}/{MM}/{dd}/{HH}/", zone, &["2025/06/04/24/x", "2025/06/04/99/x", "2025/06/31/00/x"]);
        no_time("dt={yyyy}{MM}{dd}/", zone, &["dt=20250631/x", "dt=20251301/x"]);
        no_time("{yyyy}/{M}/{d}/{H}/", zone, &["2025/6/31/0/x", "2025/6/4/24/x", "2025/0/4/2/x"]);
        no_time("e-{yyyy}{MM}{dd}-*.parquet", zone, &["e-20250631-0.parquet"]);
    }
    no_time("{yyyy}/{MM}/{dd}/{HH}/", "Europe/Berlin", &["2025/03/30/02/x"]);
    no_time("{yyyy}/{MM}/{dd}/{HH}/", "America/New_York", &["2025/03/09/02/x"]);
    no_time("{yyyy}/{MM}/{dd}/{HH}/", "America/Santiago", &["2025/09/07/00/x"]);
    no_time("{yyyy}/{MM}/{dd}/", "Pacific/Apia", &["2011/12/30/x"]);
}

#[test]
fn what_has_another_form_is_in_no_partition() {
    let cases: [(&str, &[&str]); 12] = [
        (
            "{yyyy}/{MM}/{dd}/{HH}/",
            &[
                "2025/6/04/10/x",
                "2025/06/04/x",
                "2025/06/04/7/x",
                "x",
                "2025/06/04/010/x",
                "20x5/06/04/10/x",
                "2025/06/04/10",
                "yéar/1",
            ],
        ),
        ("{yyyy}/{M}/{d}/", &["2025/06/4/x", "2025/6/04/x", "2025/6/004/x", "2025/+6/4/x", "2025//4/x"]),
        (
            "year={yyyy}/month={MM}/",
            &["year=2025/month=6/x", "Year=2025/month=06/x", "year=__HIVE_DEFAULT_PARTITION__/month=06/x"],
        ),
        ("{yyyy}{MM}{dd}/", &["2025064/x", "202506041/x", "2025-06-04/x"]),
        ("*/{yyyy}/{MM}/", &["2025/06/x", "a/b/2025/06/x"]),
        ("{yyyy}/*/{MM}/", &["2025/06/x"]),
        ("{yyyy}-{MM}-{dd}.parquet", &["2025-06-04.parquet.tmp", "2025-06-04.csv", "a/2025-06-04.parquet"]),
        ("{yyyy}/{MM}/e-{yyyy}{MM}{dd}.parquet", &["2025/06/e-20250704.parquet", "2024/06/e-20250604.parquet"]),
        ("{yyyy}/{MM}/{dd}", &["2025/06/04x/y", "2025/06/041"]),
        // Two times in one name: nobody knows which.
        ("*-{yyyy}-*.parquet", &["a-1999-2025-b.parquet"]),
        ("{yyyy}/{H}h/", &["2025/7h/x"]),
        ("dt={yyyy}-{MM}-{dd}/", &["dt%3D2025-06-04/x", "DT=2025-06-04/x", "dt=2025-06-04 /x"]),
    ];
    for (layout, paths) in cases {
        let Ok(template) = RawTemplate::parse(&format!("s3://b/r/{layout}"), TimeZone::UTC) else { continue };
        for path in paths {
            let location = format!("s3://b/r/{path}");
            assert_eq!(template.place(&location), Place::NoPartition, "{layout} {path}");
        }
        assert_eq!(template.place("s3://b/rr/2025/06/04/10/x"), Place::Outside);
        assert_eq!(template.place("s3://b/r"), Place::Outside);
    }
}

#[test]
fn a_folder_that_is_none_of_ours_stays_so_behind_a_wildcard() {
    let template = template("s3://b/r/{yyyy}/{MM}/{dd}/*/", "UTC");
    let hidden = |path: &str| match template.place(path) {
        Place::In { hidden, .. } => hidden,
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(hidden("s3://b/r/2025/06/04/shard-1/x"), None);
    assert_eq!(hidden("s3://b/r/2025/06/04/_temporary/x"), Some(IgnoredReason::Hidden));
    assert_eq!(hidden("s3://b/r/2025/06/04/errors/x"), Some(IgnoredReason::Errors));
}

#[test]
fn a_day_is_one_folder_where_it_has_one() {
    let day = |layout: &str| {
        let template = template(&format!("s3://b/r/{layout}"), "Europe/Berlin");
        template.looks(template.day(date(2025, 3, 30)).unwrap()).unwrap()
    };
    let only = |folder: &str| vec![Look::Deep(format!("s3://b/r/{folder}"))];
    assert_eq!(day("{yyyy}/{MM}/{dd}/{HH}/"), only("2025/03/30/"));
    assert_eq!(day("{yyyy}/{M}/{d}/{H}/"), only("2025/3/30/"));
    assert_eq!(day("dt={yyyy}-{MM}-{dd}/hour={H}/"), only("dt=2025-03-30/"));
    assert_eq!(day("{yyyy}/{MM}/{dd}/*/"), only("2025/03/30/"));
    assert_eq!(day("*/{yyyy}/{MM}/{dd}/"), only(""));
    assert_eq!(day("{yyyy}/{MM}/e-{yyyy}{MM}{dd}-*.parquet"), only("2025/03/"));
    assert_eq!(day("{yyyy}-{MM}-{dd}.parquet"), only(""));
    assert_eq!(day("{yyyy}/{MM}/{dd}"), only("2025/03/30/"));
    // Hours without a folder of their day: each by its name, and none that the clock skips.
    let hours = day("{yyyy}{MM}{dd}{HH}/");
    assert_eq!(hours.len(), 23);
    assert!(!hours.contains(&Look::Deep("s3://b/r/2025033002/".to_owned())), "{hours:?}");
}

#[test]
fn longer_intervals_take_the_longest_folders_that_fit() {
    let template = hourly("UTC");
    let folders = deep(&template, interval("2024-12-30T22:00Z", "2026-02-02T01:00Z"));
    let below: Vec<_> = folders.iter().map(|folder| folder.strip_prefix("s3://raw/telemetry/").unwrap()).collect();
    assert_eq!(
        below,
        ["2024/12/30/22/", "2024/12/30/23/", "2024/12/31/", "2025/", "2026/01/", "2026/02/01/", "2026/02/02/00/"]
    );
    let looks = template.looks(interval("2025-06-04T10:00Z", "2025-06-04T12:00Z")).unwrap();
    let day = Look::Shallow { folder: "s3://raw/telemetry/2025/06/04/".to_owned(), date: date(2025, 6, 4) };
    assert_eq!((looks.len(), &looks[0]), (3, &day), "what lies beside the hours is seen");
    assert!(template.has_hours("s3://raw/telemetry/2025/06/04/23/", date(2025, 6, 4)));
    for other in ["24/", "7/", "xx/"] {
        assert!(!template.has_hours(&format!("s3://raw/telemetry/2025/06/04/{other}"), date(2025, 6, 4)), "{other}");
    }
}

#[test]
fn where_the_clock_changes_a_day_has_23_or_25_hours() {
    let template = hourly("Europe/Berlin");
    assert_eq!(template.day(date(2025, 3, 30)).unwrap(), interval("2025-03-29T23:00Z", "2025-03-30T22:00Z"));
    assert_eq!(template.day(date(2025, 10, 26)).unwrap(), interval("2025-10-25T22:00Z", "2025-10-26T23:00Z"));
    let partition = |text: &str| template.partition(text.parse().unwrap()).unwrap();
    assert_eq!(partition("2025-06-04T10:20:30Z"), interval("2025-06-04T10:00Z", "2025-06-04T11:00Z"));
    // The clock goes back at 01:00Z: both hours are called 02 there and share a folder.
    let twice = interval("2025-10-26T00:00Z", "2025-10-26T02:00Z");
    assert_eq!(partition("2025-10-26T00:30Z"), twice);
    assert_eq!(partition("2025-10-26T01:30Z"), twice);
}

#[test]
fn templates_that_say_too_little_or_too_much_are_refused() {
    let fields = "there are {yyyy}, {MM}, {dd} and {HH}, without leading zeros {M}, {d} and {H}, and * for any name";
    let cases = [
        ("s3://raw/telemetry/", "it has no {yyyy}: write for example {yyyy}/{MM}/{dd}/{HH}/"),
        ("s3://raw/{yyyy}/{dd}/", "an hour needs a day, a day needs a month"),
        ("s3://raw/{yyyy}/{mm}/", &format!("{{mm}} is not known; {fields}")),
        ("s3://raw/{yyyy", "a `{` is not closed"),
        ("s3://raw/{yyyy}}", "a `}` was never opened"),
        ("s3://raw/**/{yyyy}/", "`**` is not known: write `*` for one folder of any name"),
        ("s3://raw/*{yyyy}/", "a field follows `*` at once, so that nobody knows where it begins"),
        (
            "s3://raw/{yyyy}{M}{d}/",
            "digits may follow {M}, {d} or {H} at once: write {MM}, {dd} or {HH}, or a text between",
        ),
        ("s3://raw/*/*/*/*/*/{yyyy}/", "it has more than 4 `*`"),
    ];
    for (text, reason) in cases {
        let error = RawTemplate::parse(text, TimeZone::UTC).unwrap_err();
        assert_eq!(error.to_string(), format!("use path template {text:?}: {reason}"));
        assert_eq!(error.kind(), crate::ErrorKind::Configuration);
    }
    for text in ["s3://raw//{yyyy}", "s3://raw/{yyyy}//{MM}/", "s3://raw/../{yyyy}/"] {
        assert!(RawTemplate::parse(text, TimeZone::UTC).is_err(), "{text}");
    }
}

#[test]
fn a_root_is_spelled_as_lists_spell_it() {
    for (text, root) in [
        ("s3a://b/r/{yyyy}/", "s3://b/r/"),
        ("s3://b/{yyyy}/", "s3://b/"),
        ("/lake/raw/x={yyyy}/", "file:///lake/raw/"),
        ("file:/lake/raw /{yyyy}/", "file:///lake/raw /"),
        ("s3://b/a*/{yyyy}/", "s3://b/"),
    ] {
        assert_eq!(template(text, "UTC").root(), root);
    }
}

#[test]
fn an_interval_that_cuts_a_folder_is_refused() {
    let error = hourly("UTC").looks(interval("2025-06-04T00:30Z", "2025-06-04T02:00Z")).unwrap_err();
    assert!(error.to_string().contains("such as 2025-06-04T00:00:00Z"), "{error}");
    assert!(hourly("UTC").looks(interval("2025-06-04T01:00Z", "2025-06-04T01:00Z")).is_err());
    assert!(hourly("Asia/Kolkata").looks(interval("2025-06-04T00:30Z", "2025-06-04T01:30Z")).is_ok());
}

#[test]
fn later_paths_come_after_where_paths_are_sorted_by_time() {
    let mut sorted = 0;
    for layout in LAYOUTS {
        for zone in ["UTC", "Europe/Berlin", "America/Santiago"] {
            let template = template(&format!("s3://b/r/{layout}"), zone);
            let path = |instant: Timestamp| {
                let civil = template.partition_of(instant).unwrap().0;
                format!("{}{}", template.root(), template.pattern.path(civil, "any", "f"))
            };
            let instants: Vec<_> = instants().filter(|instant| instant.as_second() >= 0).collect();
            for pair in instants.windows(2) {
                let Some(after) = template.after(pair[0]) else { continue };
                sorted += 1;
                let (a, b) = (template.partition(pair[0]).unwrap().start, template.partition(pair[1]).unwrap().start);
                assert!(path(pair[0]) > after, "{layout} {after}");
                assert_eq!(path(pair[1]) > after, b >= a, "{layout} {after} {}", path(pair[1]));
            }
        }
    }
    assert!(sorted > 10_000);
    for layout in ["{yyyy}/{M}/{d}/", "*/{yyyy}/{MM}/", "{dd}.{MM}.{yyyy}/", "{yyyy}/*/{MM}/"] {
        assert_eq!(template(&format!("s3://b/r/{layout}"), "UTC").after(Timestamp::UNIX_EPOCH), None, "{layout}");
    }
}
