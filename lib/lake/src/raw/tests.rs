//! What is listed for an interval, and what is not.

use jiff::{civil::date, tz::TimeZone};

use super::*;

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
    let listing = list(&storage, &template, template.day(date(2025, 6, 4)).unwrap(), &Beside::default()).await.unwrap();

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

/// A raw zone on disk, with these files.
struct Zone {
    keep: tempfile::TempDir,
}

impl Zone {
    fn of(files: &[&str]) -> Self {
        let zone = Self { keep: tempfile::tempdir().unwrap() };
        for file in files {
            let path = zone.keep.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        zone
    }

    fn root(&self) -> String {
        format!("file://{}/", self.keep.path().display())
    }

    fn template(&self, layout: &str, zone: &str) -> RawTemplate {
        RawTemplate::parse(&(self.root() + layout), TimeZone::get(zone).unwrap()).unwrap()
    }

    fn below(&self, location: &str) -> String {
        location.strip_prefix(&self.root()).unwrap().to_owned()
    }

    /// Everything, by a sweep: input with its time, and the rest.
    async fn swept(&self, template: &RawTemplate, beside: &Beside) -> (Vec<String>, Vec<(String, IgnoredReason)>) {
        let mut files = Vec::new();
        let see = |file: RawFile, partition: RawInterval| {
            assert_eq!(file.partition_start, partition.start);
            files.push(format!("{} {}", self.below(&file.location), partition.start));
            Ok(())
        };
        let rest = sweep(&Storage::local(), template, beside, None, see).await.unwrap();
        files.sort();
        assert_eq!(rest.counts.values().sum::<u64>(), rest.samples.len() as u64);
        let mut rest: Vec<_> =
            rest.samples.iter().map(|ignored| (self.below(&ignored.location), ignored.reason)).collect();
        rest.sort();
        (files, rest)
    }
}

/// Whatever lies below the root is input, or named with a reason.
#[tokio::test]
async fn a_sweep_takes_or_names_all_that_is_there() {
    use IgnoredReason::*;
    let zone = Zone::of(&[
        "1970/01/01/00/clock.parquet",
        "2025/06/04/10/a b#%ü.parquet",
        "2025/06/04/10/sub/b.parquet",
        "2099/01/01/00/future.parquet",
        "2025/06/04/direct.parquet",
        "2025/06/04/24/x.parquet",
        "2025/06/04/7/x.parquet",
        "2025/06/31/00/x.parquet",
        "2025/03/30/02/skipped.parquet",
        "2025/6/04/10/x.parquet",
        "stray.parquet",
        "_delta_log/00000000000000000000.json",
        "metadata/00001-abc.metadata.json",
        ".hoodie/hoodie.properties",
        "__HIVE_DEFAULT_PARTITION__/x.parquet",
        "year=__HIVE_DEFAULT_PARTITION__/x.parquet",
        "_SUCCESS",
        "errors/x",
        "2025/06/04/10/_tmp/x",
        "other/2025-06-04/x.parquet",
        "quarantine/x.parquet",
    ]);
    let template = zone.template("{yyyy}/{MM}/{dd}/{HH}/", "Europe/Berlin");
    let beside = Beside {
        templates: vec![zone.template("other/{yyyy}-{MM}-{dd}/", "UTC")],
        folders: vec![zone.root() + "quarantine/"],
    };
    let (files, rest) = zone.swept(&template, &beside).await;
    assert_eq!(
        files,
        [
            "1970/01/01/00/clock.parquet 1969-12-31T23:00:00Z",
            "2025/06/04/10/a b#%ü.parquet 2025-06-04T08:00:00Z",
            "2025/06/04/10/sub/b.parquet 2025-06-04T08:00:00Z",
            "2099/01/01/00/future.parquet 2098-12-31T23:00:00Z",
        ]
    );
    let expected = [
        (".hoodie/hoodie.properties", Hudi),
        ("2025/03/30/02/skipped.parquet", NoSuchTime),
        ("2025/06/04/10/_tmp/x", Hidden),
        ("2025/06/04/24/x.parquet", NoSuchTime),
        ("2025/06/04/7/x.parquet", NoPartition),
        ("2025/06/04/direct.parquet", NoPartition),
        ("2025/06/31/00/x.parquet", NoSuchTime),
        ("2025/6/04/10/x.parquet", NoPartition),
        ("_SUCCESS", Hidden),
        ("__HIVE_DEFAULT_PARTITION__/x.parquet", HiveDefault),
        ("_delta_log/00000000000000000000.json", Delta),
        ("errors/x", Errors),
        ("metadata/00001-abc.metadata.json", Iceberg),
        ("stray.parquet", NoPartition),
        ("year=__HIVE_DEFAULT_PARTITION__/x.parquet", HiveDefault),
    ];
    assert_eq!(rest, expected.map(|(path, reason)| (path.to_owned(), reason)));

    // Of one day, what lies in its folder; of one hour, what lies beside it.
    let strays = async |start: Timestamp, end: Timestamp| {
        let listing = list(&Storage::local(), &template, RawInterval { start, end }, &beside).await.unwrap();
        let odd = listing.ignored.iter().filter(|ignored| ignored.reason.is_odd());
        let odd: Vec<_> = odd.map(|ignored| zone.below(&ignored.location)).collect();
        (listing.files.len(), odd)
    };
    let day = template.day(date(2025, 6, 4)).unwrap();
    let in_day = ["2025/06/04/24/x.parquet", "2025/06/04/7/x.parquet", "2025/06/04/direct.parquet"].map(str::to_owned);
    assert_eq!(strays(day.start, day.end).await, (2, in_day.to_vec()));
    let hour = template.partition("2025-06-04T08:00:00Z".parse().unwrap()).unwrap();
    let beside_hour = ["2025/06/04/24/", "2025/06/04/7/", "2025/06/04/direct.parquet"].map(str::to_owned);
    assert_eq!(strays(hour.start, hour.end).await, (2, beside_hour.to_vec()));
}

#[tokio::test]
async fn an_interval_has_its_files_alone_where_days_share_a_folder() {
    let zone = Zone::of(&[
        "2025/06/e-20250604-1.parquet",
        "2025/06/e-20250604-2.parquet",
        "2025/06/e-20250605-1.parquet",
        "2025/06/e.parquet",
    ]);
    let template = zone.template("{yyyy}/{MM}/e-{yyyy}{MM}{dd}-*.parquet", "UTC");
    let listing =
        list(&Storage::local(), &template, template.day(date(2025, 6, 4)).unwrap(), &Beside::default()).await.unwrap();
    let files: Vec<_> = listing.files.iter().map(|file| zone.below(&file.location)).collect();
    assert_eq!(files, ["2025/06/e-20250604-1.parquet", "2025/06/e-20250604-2.parquet"]);
    assert_eq!(listing.ignored.len(), 1);
}
