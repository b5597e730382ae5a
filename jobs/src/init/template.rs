//! A path template and a table's name, guessed from where raw files lie.

use contract::TableName;

use crate::error::Result;

/// A guessed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The template, as `etl.toml` wants it.
    pub template: String,
    /// What is doubtful about it.
    pub notes: Vec<String>,
}

/// The part of a folder or template before its first field or `*`, up to a slash.
pub fn literal_folder(raw: &str) -> &str {
    match raw.find(['{', '*']) {
        Some(field) => &raw[..raw[..field].rfind('/').map_or(0, |slash| slash + 1)],
        None => raw,
    }
}

/// The template given, or the one that the files' paths show.
pub fn guess(raw: &str, root: &str, locations: &[&str]) -> Source {
    if raw.contains(['{', '*']) {
        return Source { template: raw.to_owned(), notes: Vec::new() };
    }
    let root = root.trim_end_matches('/');
    let paths: Option<Vec<_>> = locations.iter().map(|location| below(root, location)).collect();
    let paths = paths.unwrap_or_default();
    let shapes: Option<Vec<_>> = paths.iter().map(|path| of_folders(path)).collect();
    let shapes = shapes.or_else(|| paths.iter().map(|path| of_file_name(path)).collect());
    let shape = shapes.unwrap_or_default().into_iter().map(Some).reduce(|a, b| united(a?, b?)).flatten();
    match shape {
        Some(shape) => Source { template: format!("{root}/{}", text(&shape)), notes: doubts(&shape) },
        None => Source {
            template: format!("{root}/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/"),
            notes: vec!["the raw files' paths show no one path template; write it as they lie".to_owned()],
        },
    }
}

fn below<'l>(root: &str, location: &'l str) -> Option<&'l str> {
    // A path is listed as a URL.
    let location = location.strip_prefix("file://").filter(|_| root.starts_with('/')).unwrap_or(location);
    Some(location.strip_prefix(root)?.trim_start_matches('/'))
}

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field, Zeros),
    /// Names that differ.
    Any,
    /// Between two folders.
    Slash,
}

/// Fields in the order in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
}

const FIELDS: [Field; 4] = [Field::Year, Field::Month, Field::Day, Field::Hour];

/// Whether numbers below ten have a zero in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Yes,
    No,
    /// Only numbers from ten on were seen.
    Unseen,
}

impl Field {
    fn fits(self, number: u32) -> bool {
        match self {
            Self::Year => (1900..2200).contains(&number),
            Self::Month => (1..=12).contains(&number),
            Self::Day => (1..=31).contains(&number),
            Self::Hour => number < 24,
        }
    }

    fn digits(self) -> usize {
        if self == Self::Year { 4 } else { 2 }
    }

    fn name(self, zeros: Zeros) -> &'static str {
        match (self, zeros) {
            (Self::Year, _) => "{yyyy}",
            (Self::Month, Zeros::No) => "{M}",
            (Self::Month, _) => "{MM}",
            (Self::Day, Zeros::No) => "{d}",
            (Self::Day, _) => "{dd}",
            (Self::Hour, Zeros::No) => "{H}",
            (Self::Hour, _) => "{HH}",
        }
    }
}

/// `2025/06/04/10/a` → `{yyyy}/{MM}/{dd}/{HH}/`, `dt=2025-6-4/x/a` → `dt={yyyy}-{M}-{d}/`, and so on: up to the last folder with
/// a field. `None` when no folder has a year.
fn of_folders(path: &str) -> Option<Vec<Part>> {
    let (folders, _) = path.rsplit_once('/')?;
    let (mut parts, mut left, mut last) = (Vec::new(), &FIELDS[..], 0);
    for segment in folders.split('/') {
        let value =
            ["=", "%3D", "%3d"].iter().find_map(|sign| segment.split_once(sign)).map_or(segment, |(_, value)| value);
        let is_date = value.chars().all(|c| c.is_ascii_digit() || "-_.T:".contains(c));
        match if is_date { fields(value, left) } else { None } {
            Some((found, after)) => {
                let key = &segment[..segment.len() - value.len()];
                parts.extend((!key.is_empty()).then(|| Part::Text(key.to_owned())));
                parts.extend(found);
                left = after;
                last = parts.len() + 1;
            }
            None => parts.push(Part::Text(segment.to_owned())),
        }
        parts.push(Part::Slash);
    }
    parts.truncate(last);
    (left.len() < FIELDS.len()).then_some(parts)
}

/// `a/events-20250604-1.parquet` → `a/events-{yyyy}{MM}{dd}*.parquet`.
fn of_file_name(path: &str) -> Option<Vec<Part>> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folders = folders.split('/').filter(|folder| !folder.is_empty());
    let mut parts: Vec<_> = folders.flat_map(|folder| [Part::Text(folder.to_owned()), Part::Slash]).collect();
    let starts =
        (0..name.len()).filter(|at| name.is_char_boundary(*at) && !name[..*at].ends_with(|c: char| c.is_ascii_digit()));
    let (at, date, found) = starts.into_iter().find_map(|at| {
        let end = name[at..].find(|c: char| !c.is_ascii_digit() && !"-_".contains(c)).unwrap_or(name.len() - at);
        // The longest text that is a date, without what only separates it from the rest.
        (8..=end).rev().find_map(|end| {
            let date = &name[at..at + end];
            let is_whole = !name[at + end..].starts_with(|c: char| c.is_ascii_digit());
            let is_compact = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit());
            let (found, left) =
                fields(date, if is_compact { &FIELDS[..] } else { &FIELDS[..3] }).filter(|_| is_whole)?;
            let has_all = left.is_empty() && date.ends_with(|c: char| c.is_ascii_digit());
            let is_padded = !found.iter().any(|part| matches!(part, Part::Field(_, Zeros::No)));
            (has_all && is_padded).then_some((at, date, found))
        })
    })?;
    let prefix = &name[..at];
    let rest = &name[at + date.len()..];
    let extension = rest.rfind('.').map_or("", |dot| &rest[dot..]);
    parts.extend((!prefix.is_empty()).then(|| Part::Text(prefix.to_owned())));
    parts.extend(found);
    parts.extend((rest != extension).then_some(Part::Any));
    parts.extend((!extension.is_empty()).then(|| Part::Text(extension.to_owned())));
    Some(parts)
}

/// Reads digits as the next fields, with what is between them; all of the text, and at least one field.
fn fields<'f>(text: &str, mut left: &'f [Field]) -> Option<(Vec<Part>, &'f [Field])> {
    let (mut parts, mut rest, before) = (Vec::new(), text, left.len());
    while !rest.is_empty() {
        let run = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if run == 0 {
            let between = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            parts.push(Part::Text(rest[..between].to_owned()));
            rest = &rest[between..];
            continue;
        }
        let mut digits = &rest[..run];
        while !digits.is_empty() {
            let (field, after) = left.split_first()?;
            // Alone it may have one digit; beside others each has its own.
            let is_short = run == 1 && *field != Field::Year;
            let (number, others) = digits.split_at_checked(if is_short { 1 } else { field.digits() })?;
            let zeros = match (is_short, number.starts_with('0') || run > field.digits()) {
                (true, _) => Zeros::No,
                (false, true) => Zeros::Yes,
                (false, false) => Zeros::Unseen,
            };
            field.fits(number.parse().ok()?).then_some(())?;
            parts.push(Part::Field(*field, if *field == Field::Year { Zeros::Yes } else { zeros }));
            (left, digits) = (after, others);
        }
        rest = &rest[run..];
    }
    (left.len() < before).then_some((parts, left))
}

/// What two paths have in common; `None` when their fields differ.
fn united(a: Vec<Part>, b: Vec<Part>) -> Option<Vec<Part>> {
    if a.len() != b.len() {
        return None;
    }
    let pairs = a.into_iter().zip(b);
    let unite = |(a, b)| match (a, b) {
        (a, b) if a == b => Some(a),
        (Part::Field(a, zeros), Part::Field(b, other)) if a == b => match (zeros, other) {
            (Zeros::Unseen, other) => Some(Part::Field(a, other)),
            (zeros, Zeros::Unseen) => Some(Part::Field(a, zeros)),
            _ => None,
        },
        (Part::Text(_) | Part::Any, Part::Text(_) | Part::Any) => Some(Part::Any),
        _ => None,
    };
    let united: Vec<_> = pairs.map(unite).collect::<Option<_>>()?;
    // Nobody knows where a field begins that follows any name at once.
    let is_clear = |pair: &[Part]| !matches!(pair, [Part::Any, Part::Field(..) | Part::Any]);
    united.windows(2).all(is_clear).then_some(united)
}

fn text(parts: &[Part]) -> String {
    let text = parts.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Field(field, zeros) => field.name(*zeros),
        Part::Any => "*",
        Part::Slash => "/",
    });
    text.collect()
}

/// What a template does not show, and what it takes for a name although it may be a time.
fn doubts(parts: &[Part]) -> Vec<String> {
    let mut notes = Vec::new();
    let unseen = parts.iter().filter_map(|part| match part {
        Part::Field(field, Zeros::Unseen) => Some((field.name(Zeros::Unseen), field.name(Zeros::No))),
        _ => None,
    });
    for (padded, unpadded) in unseen {
        notes.push(format!("{padded} was seen from 10 on only: where lower numbers have one digit, write {unpadded}"));
    }
    if !parts.iter().any(|part| matches!(part, Part::Field(Field::Day, _))) {
        notes.push("the paths show no day: files are taken by the month or year".to_owned());
    }
    for part in parts {
        if let Part::Text(name) = part
            && looks_like_time(name)
        {
            notes.push(format!("{name:?} stays as it is: where it changes with time, write * in its place"));
        }
    }
    notes
}

fn looks_like_time(name: &str) -> bool {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = name.rsplit('=').next().unwrap_or(name).to_ascii_lowercase();
    name.contains(|c: char| c.is_ascii_digit()) || MONTHS.iter().any(|month| name.starts_with(month))
}

/// Words that a table's name would have to be quoted for.
const RESERVED: &str = " all and as by case create cross end except false fetch for from full group having inner intersect join \
    left limit natural not null offset on or order select set table true union using where with ";

/// `s3://acme-raw/device-telemetry/` → `curated.device_telemetry`: a name that SQL takes without quotes.
pub fn table_name(root: &str) -> Result<TableName> {
    let last = root.trim_end_matches('/').rsplit('/').find(|part| !part.is_empty() && *part != "..").unwrap_or("raw");
    let mut name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || RESERVED.contains(&format!(" {name} ")) {
        name = format!("t_{name}");
    }
    Ok(format!("curated.{name}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(paths: &[&str]) -> Source {
        let locations: Vec<_> = paths.iter().map(|path| format!("s3://b/t/{path}")).collect();
        let mut source = guess("s3://b/t/", "s3://b/t/", &locations.iter().map(String::as_str).collect::<Vec<_>>());
        source.template = source.template.strip_prefix("s3://b/t/").unwrap().to_owned();
        source
    }

    #[test]
    fn paths_show_their_template() {
        let cases: [(&[&str], &str); 18] = [
            (&["2025/06/04/09/a.parquet"], "{yyyy}/{MM}/{dd}/{HH}/"),
            (&["year=2025/month=06/day=04/a.parquet"], "year={yyyy}/month={MM}/day={dd}/"),
            (&["dt=2025-06-04/hour=09/a.parquet"], "dt={yyyy}-{MM}-{dd}/hour={HH}/"),
            (&["eu/2025/06/04/a.parquet"], "eu/{yyyy}/{MM}/{dd}/"),
            (&["2025/6/4/7/a"], "{yyyy}/{M}/{d}/{H}/"),
            (&["2025/6/14/17/a", "2025/11/4/7/a"], "{yyyy}/{M}/{d}/{H}/"),
            (&["dt=20250604/a", "dt=20251231/b"], "dt={yyyy}{MM}{dd}/"),
            (&["dt=20250604/hour=7/a"], "dt={yyyy}{MM}{dd}/hour={H}/"),
            (&["2025060409/a"], "{yyyy}{MM}{dd}{HH}/"),
            (&["2025-06-04T09/a"], "{yyyy}-{MM}-{dd}T{HH}/"),
            (&["dt%3D2025-06-04/a"], "dt%3D{yyyy}-{MM}-{dd}/"),
            (&["eu/2025/06/a", "us west/2025/07/a"], "*/{yyyy}/{MM}/"),
            (&["2025/06/04/shard-a/x", "2025/06/04/y"], "{yyyy}/{MM}/{dd}/"),
            (&["2025/eu/06/a", "2025/us/06/a"], "{yyyy}/*/{MM}/"),
            (&["2025-06-04.parquet"], "{yyyy}-{MM}-{dd}.parquet"),
            (&["events-20250604-1.parquet", "events-20250605-22.parquet"], "events-{yyyy}{MM}{dd}*.parquet"),
            (&["x/20250604_09_part.parquet"], "x/{yyyy}{MM}{dd}*.parquet"),
            (&["20250604/2025-06-04.parquet"], "{yyyy}{MM}{dd}/"),
        ];
        for (paths, template) in cases {
            let source = guessed(paths);
            assert_eq!(source.template, template, "{paths:?}");
            let whole = format!("s3://b/t/{template}");
            let parsed = lake::raw::RawTemplate::parse(&whole, jiff::tz::TimeZone::UTC).unwrap();
            for path in paths {
                let location = format!("s3://b/t/{path}");
                assert!(matches!(parsed.place(&location), lake::raw::Place::In { .. }), "{template} {path}");
            }
        }
    }

    #[test]
    fn what_is_doubtful_is_said() {
        let literal = |paths: &[&str], name: &str| {
            let notes = guessed(paths).notes;
            let expected = format!("{name:?} stays as it is: where it changes with time, write * in its place");
            assert!(notes.contains(&expected), "{paths:?}: {notes:?}");
        };
        literal(&["2025/W23/06/a"], "W23");
        literal(&["06/04/2025/a"], "06");
        literal(&["06/04/2025/a"], "04");
        literal(&["2025/2025/06/a"], "2025");
        literal(&["june/2025/06/a"], "june");
        literal(&["week=23/2025/06/a"], "week=23");
        assert_eq!(guessed(&["2025/W23/06/a"]).template, "{yyyy}/W23/{MM}/");
        assert!(guessed(&["eu/2025/06/04/a"]).notes.is_empty());
        let zeros = guessed(&["2025/11/24/a"]).notes;
        assert_eq!(zeros[1], "{dd} was seen from 10 on only: where lower numbers have one digit, write {d}");
        assert!(guessed(&["2025/11/24/a", "2025/06/04/a"]).notes.is_empty());
        for paths in [
            &["part-0.parquet"][..],
            &["2025/6/04/a", "2025/06/4/a"],
            &["2025/06/a", "2025/06/04/a"],
            &["2025/13/40/a", "x"],
        ] {
            let source = guessed(paths);
            assert_eq!((source.template.as_str(), source.notes.len()), ("{yyyy}/{MM}/{dd}/{HH}/", 1), "{paths:?}");
        }
    }

    #[test]
    fn a_path_stays_a_path() {
        let source = guess("/lake/raw/t/", "/lake/raw/t/", &["file:///lake/raw/t/2025/06/04/10/a.parquet"]);
        assert_eq!(source.template, "/lake/raw/t/{yyyy}/{MM}/{dd}/{HH}/");
    }

    #[test]
    fn a_template_is_taken_as_it_is() {
        for raw in ["s3://b/t/year={yyyy}/", "s3://b/t/*/{yyyy}/"] {
            assert_eq!(literal_folder(raw), "s3://b/t/");
            assert_eq!(guess(raw, literal_folder(raw), &[]).template, raw);
        }
    }

    #[test]
    fn a_table_is_named_after_the_folder() {
        for (root, name) in [
            ("s3://acme-raw/device-telemetry/", "curated.device_telemetry"),
            ("../Raw", "curated.raw"),
            ("s3://acme/2ndfloor/", "curated.t_2ndfloor"),
            ("raw/04", "curated.t_04"),
            ("raw/order/", "curated.t_order"),
            ("raw/größe 1", "curated.gr__e_1"),
            ("raw/日本/", "curated.t___"),
        ] {
            assert_eq!(table_name(root).unwrap().to_string(), name);
        }
    }
}
