//! `etl tier` against an S3 that has storage classes: what moves, what stays, what a run says that meets an archived object,
//! and that nothing of an object but its class ever changes.

mod upkeep;

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};

use crate::{
    batches::{self, TABLE},
    case::{ContractChanges, usual_contract},
    faults::FAULT,
    lake::{Catalog, Lake, Ran, TableSetup, Tier},
    maintain::{ended, equal},
    noise,
    services::{Bucket, SERVICES, send},
};

/// One trial: its name, and what it does.
pub type Named = (&'static str, fn() -> Result<(), String>);

/// On the emulator's S3.
pub const TRIALS: [Named; 5] = [
    ("copy", copy),
    ("lifecycle", lifecycle),
    ("archived", archived),
    ("maintain", upkeep::maintain),
    ("versions", versions),
];

/// (step, fault) pairs tried.
pub static PAIRS: AtomicU64 = AtomicU64::new(0);

/// When everything that a test has written is old: objects carry the machine's time.
const MUCH_LATER: &str = "2100-01-01T00:00:00Z";

/// Hours whose raw files are in the table: the first, and one of so much later that `--pending` no longer looks at the first.
const TAKEN: [usize; 2] = [0, 144];
/// An hour that is not.
const PENDING: usize = 1;

/// A lake on the emulator's S3.
struct World {
    lake: Lake,
    bucket: Bucket,
    name: String,
}

/// With raw files of three hours, of which two are in the table.
fn world(name: &str, settings: &[(&str, &str)]) -> Result<World, String> {
    let name = format!("tier-{name}");
    let lake = Lake::with_catalog(Tier::Cloud, Catalog::Sqlite, &name, &[table(settings)]);
    // A bucket of its own: rules and versions are the whole bucket's.
    let usual = SERVICES.s3.as_ref().ok_or("it runs where there is S3")?;
    let own = format!("{name}-{}", std::process::id());
    let bucket = usual.in_emulator(&own).ok_or("it runs where there is an emulator")?;
    let config = lake.folder().join("etl.toml");
    let text = fs::read_to_string(&config).map_err(|error| error.to_string())?;
    let text = text.replace(&format!("s3://{}/", usual.name), &format!("s3://{own}/"));
    fs::write(&config, text).map_err(|error| error.to_string())?;
    let mut world = World { lake, bucket, name };
    for (index, hour) in [TAKEN[0], PENDING, TAKEN[1]].into_iter().enumerate() {
        let day = format!("2025-06-{:02}T12:00", 1 + index);
        world.put_raw(hour, noise::file_of(&day, 40, 8_000, index as u64 + 1)?)?;
    }
    world.put("raw/telemetry/2025/06/04/00/errors/x.parquet", &[], b"no input")?;
    for hour in TAKEN {
        ended(world.run(&batches::dedupe(hour)), 0)?;
    }
    world.lake.now = MUCH_LATER.to_owned();
    Ok(world)
}

fn table(settings: &[(&str, &str)]) -> TableSetup {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    let changes = ContractChanges {
        columns: vec!["{name: payload, logicalType: string}".to_owned()],
        settings: settings.collect(),
        ..ContractChanges::default()
    };
    TableSetup { contract: usual_contract(&changes), ..batches::table() }
}

/// The emulator looks whether a request is signed, not by whom.
const SIGNED: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=test/20250601/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
);

const RAW: (&str, &str) = ("etl.tier.raw", "{30d: STANDARD_IA, 90d: GLACIER}");
const CURATED: (&str, &str) = ("etl.tier.curated", "{60d: STANDARD_IA}");
const ARCHIVED: [(&str, &str); 2] = [("etl.tier.curated", "{90d: GLACIER}"), ("etl.tier.archived", "true")];

/// An object as a request without its bytes shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    class: String,
    etag: String,
    bytes: String,
    metadata: String,
    tags: String,
    restore: String,
}

impl World {
    fn run(&self, words: &[impl AsRef<str>]) -> Ran {
        self.with(words, &[])
    }

    fn with(&self, words: &[impl AsRef<str>], more: &[(&str, &str)]) -> Ran {
        let environment = [&[("AWS_ENDPOINT_URL_S3", self.bucket.endpoint.as_str())], more].concat();
        self.lake.start(words, &environment).wait()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}/{}/{path}", self.bucket.endpoint, self.bucket.name, self.name)
    }

    fn put(&self, path: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Result<(), String> {
        let answer = send("PUT", &self.url(path), &[headers, &[SIGNED]].concat(), bytes);
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    }

    /// Raw files belong to somebody who has marked them.
    fn put_raw(&self, hour: usize, bytes: Vec<u8>) -> Result<(), String> {
        let marks = [("x-amz-meta-team", "sensors"), ("x-amz-tagging", "owner=sensors"), ("Content-Type", "x/parquet")];
        self.put(&raw(hour), &marks, &bytes)
    }

    fn seen(&self, path: &str) -> Seen {
        let head = send("HEAD", &self.url(path), &[SIGNED], b"");
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
            line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let class = header("x-amz-storage-class");
        let tags = send("GET", &format!("{}?tagging", self.url(path)), &[SIGNED], b"");
        let mut tags: Vec<String> = tags
            .split("<Tag>")
            .skip(1)
            .map(|tag| {
                tag.replace("<Key>", "").replace("</Key><Value>", "=").split('<').next().unwrap_or_default().to_owned()
            })
            .collect();
        tags.sort();
        Seen {
            class: if class.is_empty() { "STANDARD".to_owned() } else { class },
            etag: header("etag"),
            bytes: header("content-length"),
            metadata: format!("{} {}", header("x-amz-meta-team"), header("content-type")),
            tags: tags.join(","),
            restore: header("x-amz-restore").split(',').next().unwrap_or_default().to_owned(),
        }
    }

    /// Paths of the table's data files.
    fn data(&self) -> Vec<String> {
        let names = self.bucket.names(&format!("{}/warehouse", self.name)).into_iter();
        let path = |name: String| name.strip_prefix(&format!("{}/", self.name)).map(str::to_owned);
        let mut paths: Vec<_> = names.filter_map(path).filter(|path| path.contains("/data/")).collect();
        paths.sort();
        paths
    }

    /// The classes of the table's data files, in order of their partitions.
    fn data_classes(&self) -> Vec<String> {
        self.data().iter().map(|path| self.seen(path).class).collect()
    }

    fn raw_classes(&self) -> [String; 3] {
        [TAKEN[0], PENDING, TAKEN[1]].map(|hour| self.seen(&raw(hour)).class)
    }

    /// What the emulator does with this lake's objects.
    fn emulate(&self, what: Value) -> Result<u64, String> {
        let mut request = json!({"bucket": self.bucket.name, "prefix": self.name});
        request.as_object_mut().zip(what.as_object()).into_iter().for_each(|(to, from)| to.extend(from.clone()));
        let url = format!("{}/etl-storage", self.bucket.endpoint);
        let answer = send("POST", &url, &[], request.to_string().as_bytes());
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        let answer: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))?;
        answer["changed"].as_u64().ok_or_else(|| format!("no count: {answer}"))
    }

    fn rows(&self, filter: &str) -> Result<u64, String> {
        let statement = format!("SELECT count(DISTINCT payload) AS n FROM {TABLE} {filter}");
        let ran = ended(self.run(&["query", "--full-scan", "--output", "json", &statement]), 0)?;
        let rows: Vec<Value> = crate::lake::parse_json(&ran.stdout)?;
        rows.first().and_then(|row| row["n"].as_u64()).ok_or_else(|| format!("no count: {}", ran.stdout))
    }
}

fn raw(hour: usize) -> String {
    format!("raw/telemetry/2025/06/{:02}/{:02}/0.parquet", 4 + hour / 24, hour % 24)
}

fn says(ran: &Ran, words: &[&str]) -> Result<(), String> {
    match words.iter().find(|word| !ran.stderr.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("it does not say {word:?}: {}", ran.stderr)),
    }
}

/// Each object onto itself; then back, for a day that is to be judged again.
fn copy() -> Result<(), String> {
    let world = world("copy", &[RAW, CURATED])?;
    let before = world.seen(&raw(0));
    equal("marks", &(before.metadata.as_str(), before.tags.as_str()), &("sensors x/parquet", "owner=sensors"))?;
    let dry = ended(world.run(&["tier", "--dry-run"]), 0)?;
    equal("the dry run", &dry.reports[0]["plan"]["decision"], &json!("transitions"))?;
    equal("raw classes after it", &world.raw_classes(), &["STANDARD"; 3].map(str::to_owned))?;
    let asked = ended(world.run(&["tier"]), 2)?;
    says(&asked, &["--yes", "change what objects cost"])?;

    let moved = ended(world.run(&["tier", "--yes"]), 0)?;
    equal("status", &moved.reports[0]["status"], &json!("moved"))?;
    // What is not in the table stays; what --pending looks at again can be read.
    equal("raw classes", &world.raw_classes(), &["GLACIER", "STANDARD", "STANDARD_IA"].map(str::to_owned))?;
    equal("curated classes", &world.data_classes(), &vec!["STANDARD_IA".to_owned(); 2])?;
    equal("the object", &world.seen(&raw(0)), &Seen { class: "GLACIER".to_owned(), ..before.clone() })?;
    let reasons: BTreeMap<_, _> = moved.reports[0]["kept"]
        .as_array()
        .ok_or("nothing kept")?
        .iter()
        .filter_map(|of| Some((of["reason"].as_str()?, of["files"].as_u64()?)))
        .collect();
    for reason in ["not in the table yet", "no input: hidden, empty, or outside of the path template"] {
        equal(reason, &reasons.get(reason), &Some(&1))?;
    }
    let again = ended(world.run(&["tier", "--yes"]), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;

    ended(world.run(&["check"]), 0)?;
    equal("rows", &world.rows("")?, &80)?;
    // The ledger knows its files by their ETags: the archived hour is not read again.
    let again = ended(world.run(&batches::dedupe(0)), 0)?;
    equal("the first hour again", &again.reports[0]["status"], &json!("unchanged"))?;
    ended(world.run(&batches::dedupe(PENDING)), 0)?;
    equal("rows with the pending hour", &world.rows("")?, &120)?;

    // Another contract judges the first hour again, and needs its file.
    world.lake.set_contract(&table(&[RAW, CURATED, ("etl.maxInvalidRatio", "0.5")]));
    let objects = world.bucket.names(&world.name);
    let words = ["archived", &raw(0), "costs", "5 hours", "etl tier restore curated.telemetry --zone raw --start"];
    says(&ended(world.run(&batches::dedupe(0)), 1)?, &words)?;
    let restore = ["tier", "restore", TABLE, "--zone", "raw", "--date", "2025-06-04", "--yes"];
    let dry = ended(world.run(&[&restore[..], &["--dry-run"]].concat()), 0)?;
    equal("the plan", &dry.reports[0]["plan"]["restores"].as_array().map(Vec::len), &Some(1))?;
    equal("nothing is asked", &world.seen(&raw(0)).restore, &String::new())?;
    let asked = ended(world.run(&restore), 0)?;
    equal("status", &asked.reports[0]["status"], &json!("restoring"))?;
    let restored = json!({"asked": 1, "restoring": 1, "readable": 1});
    equal("how far it is", &asked.reports[0]["restored"], &restored)?;
    says(&ended(world.run(&batches::dedupe(0)), 75)?, &["still being brought back", "etl tier restore"])?;
    let asked = ended(world.run(&restore), 0)?;
    equal("asked again", &asked.reports[0]["restored"]["asked"], &json!(0))?;
    let new: Vec<_> = world.bucket.names(&world.name).into_iter().filter(|name| !objects.contains(name)).collect();
    equal("nothing was staged", &new.iter().find(|name| !name.contains("/.etl/")), &None)?;

    let waiting = [&restore[..], &["--wait"]].concat();
    let environment = [("AWS_ENDPOINT_URL_S3", world.bucket.endpoint.as_str())];
    let running = world.lake.start(&waiting, &environment);
    std::thread::sleep(std::time::Duration::from_millis(500));
    equal("restores that end", &world.emulate(json!({"finish_restores": true}))?, &1)?;
    let waited = ended(running.wait(), 0)?;
    // On a slow machine it looks for the first time when all has come back.
    let status = &waited.reports[0]["status"];
    equal("it waits", &(status == "restored" || status == "unchanged"), &true)?;
    equal("it stays archived", &world.seen(&raw(0)).class, &"GLACIER".to_owned())?;
    ended(world.run(&batches::dedupe(0)), 0)?;
    equal("rows", &world.rows("")?, &120)?;
    ended(world.run(&["check"]), 0).map(drop)
}

/// A rule of another team, as they wrote it.
const FOREIGN: &str = "<Rule><ID>theirs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration>\
                       <Days>14</Days></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>3\
                       </DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>";

/// Tags and rules, beside those of others.
fn lifecycle() -> Result<(), String> {
    let world = world("lifecycle", &[RAW, CURATED])?;
    let url = format!("{}/{}?lifecycle", world.bucket.endpoint, world.bucket.name);
    let rules = || {
        let answer = send("GET", &url, &[SIGNED], b"");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let rules =
            body.split("<Rule>").skip(1).map(|rule| format!("<Rule>{}", rule.replace("</LifecycleConfiguration>", "")));
        rules.collect::<Vec<_>>()
    };
    let theirs = format!("<LifecycleConfiguration>{FOREIGN}</LifecycleConfiguration>");
    send("PUT", &url, &[SIGNED], theirs.as_bytes());
    let before = world.seen(&raw(0));
    let words = ["tier", "--lifecycle", "--yes"];
    ended(world.run(&[&words[..], &["--dry-run"]].concat()), 0)?;
    equal("rules after a dry run", &rules(), &vec![FOREIGN.to_owned()])?;
    equal("tags after a dry run", &world.seen(&raw(0)), &before)?;

    let tagged = ended(world.run(&words), 0)?;
    equal("status", &tagged.reports[0]["status"], &json!("moved"))?;
    let after = rules();
    // The same text, whatever the order of its elements.
    equal("their rule", &elements(&after[0]), &elements(FOREIGN))?;
    let ours: Vec<_> = after[1..].iter().map(|rule| elements(rule).join(" ")).collect();
    equal("our rules", &ours.len(), &3)?;
    equal("a rule", &ours[1].contains("Days>90"), &true)?;
    let tags = "etl-tier=GLACIER,owner=sensors".to_owned();
    equal("the object", &world.seen(&raw(0)), &Seen { tags, ..before.clone() })?;
    // A rule does not change the order of arrival: what is pending may go where it can be read.
    equal("the pending one", &world.seen(&raw(PENDING)).tags.contains("etl-tier=STANDARD_IA"), &true)?;
    equal("again", &ended(world.run(&words), 0)?.reports[0]["status"], &json!("unchanged"))?;

    equal("moves", &world.emulate(json!({"follow_lifecycle": "2100-01-01T00:00:00+00:00"}))?, &5)?;
    equal("raw classes", &world.raw_classes(), &["GLACIER", "STANDARD_IA", "STANDARD_IA"].map(str::to_owned))?;
    equal("curated classes", &world.data_classes(), &vec!["STANDARD_IA".to_owned(); 2])?;
    equal("after it", &ended(world.run(&words), 0)?.reports[0]["status"], &json!("unchanged"))?;
    // What is held must not be followed any further.
    world.put_raw(TAKEN[0], noise::file_of("2025-06-01T12:00", 40, 8_000, 1)?)?;
    let to_archive = [("x-amz-tagging", "owner=sensors&etl-tier=GLACIER")];
    world.put(&raw(0), &to_archive, &noise::file_of("2025-06-01T12:00", 40, 8_000, 1)?)?;
    world.lake.set_contract(&table(&[RAW, CURATED, ("etl.tier.hold", "[2025-06-01/2025-07-01]")]));
    ended(world.run(&words), 0)?;
    equal("a held object's tags", &world.seen(&raw(0)).tags, &"etl-tier=STANDARD_IA,owner=sensors".to_owned())?;

    world.lake.set_contract(&table(&[]));
    ended(world.run(&words), 0)?;
    equal("their rule is left", &rules().iter().map(|rule| elements(rule)).collect(), &vec![elements(FOREIGN)])?;
    ended(world.run(&["check"]), 0)?;
    equal("rows", &world.rows("")?, &80)
}

/// Elements with their text, sorted: what S3 says of a rule in whatever order.
fn elements(rule: &str) -> Vec<String> {
    let mut elements: Vec<_> =
        rule.split('<').map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect();
    elements.sort();
    elements
}

/// Partitions that readers expect to be archived.
fn archived() -> Result<(), String> {
    let world = world("archived", &ARCHIVED)?;
    let bytes: Vec<_> = world.data().iter().map(|path| world.bucket.get(&format!("{}/{path}", world.name))).collect();
    ended(world.run(&["tier", "--yes", "--zone", "curated"]), 0)?;
    equal("curated classes", &world.data_classes(), &vec!["GLACIER".to_owned(); 2])?;
    equal("raw classes", &world.raw_classes(), &["STANDARD"; 3].map(str::to_owned))?;
    let all = ["query", "--full-scan", "SELECT payload FROM curated.telemetry"];
    let refused = ended(world.run(&all), 1)?;
    equal("what it shows", &refused.stdout, &String::new())?;
    says(
        &refused,
        &["2 curated objects (", "costs", "5 hours", "etl tier restore curated.telemetry --zone curated --start"],
    )?;

    // One day comes back; the other one is still archived.
    let restore = ["tier", "restore", TABLE, "--zone", "curated", "--date", "2025-06-01", "--yes", "--days", "3"];
    let asked = ended(world.run(&restore), 0)?;
    equal("asked", &asked.reports[0]["restored"]["asked"], &json!(1))?;
    says(&ended(world.run(&all), 1)?, &["archived"])?;
    equal("restores that end", &world.emulate(json!({"finish_restores": true}))?, &1)?;
    let on = |day: &str| format!("WHERE event_time >= '{day}T00:00:00Z' AND event_time < '{day}T23:00:00Z'");
    equal("rows of the day", &world.rows(&on("2025-06-01"))?, &40)?;
    says(&ended(world.run(&all), 1)?, &["1 curated object ("])?;

    // A merge that meets an archived file ends before it stages anything; an append does not look at it.
    world.put_raw(2, noise::file_of("2025-06-03T12:00", 40, 8_000, 3)?)?;
    let before = world.bucket.names(&format!("{}/warehouse", world.name));
    let refused = ended(world.run(&batches::dedupe(2)), 1)?;
    says(&refused, &["archived", "etl tier restore curated.telemetry --zone curated"])?;
    let staged = world.bucket.names(&format!("{}/warehouse", world.name));
    let staged: Vec<_> = staged.into_iter().filter(|name| !before.contains(name) && !name.contains("/.etl/")).collect();
    equal("staged", &staged, &Vec::new())?;
    ended(world.run(&batches::dedupe(PENDING)), 0)?;

    let rest = ["tier", "restore", TABLE, "--zone", "curated", "--all", "--yes"];
    ended(world.run(&rest), 0)?;
    equal("restores that end", &world.emulate(json!({"finish_restores": true}))?, &1)?;
    equal("rows", &world.rows("")?, &120)?;
    ended(world.run(&batches::dedupe(2)), 0)?;
    ended(world.run(&["check"]), 0)?;
    let now: BTreeMap<_, _> = world.bucket.read_all(&format!("{}/warehouse", world.name)).into_iter().collect();
    equal("files are what they were", &bytes.iter().all(|bytes| now.values().any(|now| now == bytes)), &true)
}

/// A bucket that keeps versions would keep, and charge, what a copy replaces.
fn versions() -> Result<(), String> {
    let world = world("versions", &[RAW])?;
    let url = format!("{}/{}?versioning", world.bucket.endpoint, world.bucket.name);
    let versioning = |status: &str| {
        let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
        send("PUT", &url, &[SIGNED], body.as_bytes());
    };
    versioning("Enabled");
    let refused = world.run(&["tier", "--yes", "--zone", "raw"]);
    versioning("Suspended");
    says(&ended(refused, 1)?, &["keeps what is replaced as an older version", "--lifecycle"])?;
    equal("raw classes", &world.raw_classes(), &["STANDARD"; 3].map(str::to_owned))
}

/// A lake that is a folder.
pub fn folder(_: Tier) -> Result<(), String> {
    let lake = Lake::new(Tier::Local, "tier-folder", &[table(&[RAW])]);
    for words in [&["tier", "--yes"][..], &["tier", "restore", "--all"]] {
        says(&ended(lake.run(words), 2)?, &["lies in a folder", "s3://"])?;
    }
    Ok(())
}

/// Every step of a run, with a fault of each kind: no object has other bytes, another `ETag`, metadata or tags than before,
/// and the same command again brings each to where it belongs.
pub fn faults(fault: &str) -> Result<(), String> {
    let world = world(&format!("fault-{fault}"), &[RAW, CURATED])?;
    let paths = [vec![raw(0), raw(PENDING), raw(TAKEN[1])], world.data()].concat();
    let bytes: Vec<_> = paths.iter().map(|path| world.bucket.get(&format!("{}/{path}", world.name))).collect();
    let before: Vec<_> = paths.iter().map(|path| world.seen(path)).collect();
    let words = ["tier", "--yes"];
    for step in 1..crate::faults::STEPS_MAX {
        for ((path, bytes), seen) in paths.iter().zip(&bytes).zip(&before) {
            if world.seen(path) != *seen {
                let is_raw = path.starts_with("raw/");
                let marks =
                    [("x-amz-meta-team", "sensors"), ("x-amz-tagging", "owner=sensors"), ("Content-Type", "x/parquet")];
                world.put(path, if is_raw { &marks } else { &[] }, bytes)?;
            }
        }
        let ran = world.with(&words, &[(FAULT, &format!("{step}:{fault}"))]);
        let at = |error: String| format!("{fault} at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        let same = |what: &str| {
            for (path, before) in paths.iter().zip(&before) {
                let now = world.seen(path);
                equal(&format!("{path} {what}"), &Seen { class: before.class.clone(), ..now }, before)?;
            }
            Ok(())
        };
        same("after the fault").map_err(at)?;
        if ![0, 1, 75, -1].contains(&ran.exit) {
            return Err(at("it should be done, or be tried again".to_owned()));
        }
        ended(world.run(&words), 0).map_err(at)?;
        same("after the second run").map_err(at)?;
        equal("raw", &world.raw_classes(), &["GLACIER", "STANDARD", "STANDARD_IA"].map(str::to_owned)).map_err(at)?;
        equal("curated", &world.data_classes(), &vec!["STANDARD_IA".to_owned(); 2]).map_err(at)?;
        PAIRS.fetch_add(1, Relaxed);
        let taken =
            ran.stderr.split_once("fault.steps=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if ran.exit != -1 && taken.is_none_or(|taken: u64| taken < step) {
            return Ok(());
        }
    }
    Err("a run takes too many steps".to_owned())
}
