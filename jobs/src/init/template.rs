//! A path template and a table's name, guessed from where raw files lie.

use contract::TableName;

use crate::error::Result;

/// A guessed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The template, as `etl.toml` wants it.
    pub template: String,
    /// What is doubtful about it.
    pub note: Option<String>,
}

/// The part of a folder or template before its first field, up to a slash.
pub fn literal_folder(raw: &str) -> &str {
    match raw.find('{') {
        Some(field) => &raw[..raw[..field].rfind('/').map_or(0, |slash| slash + 1)],
        None => raw,
    }
}

/// The template given, or the one that the files' folders show.
pub fn guess(raw: &str, root: &str, locations: &[&str]) -> Source {
    if raw.contains('{') {
        return Source { template: raw.to_owned(), note: None };
    }
    let root = root.trim_end_matches('/');
    let below = |location: &str| {
        // A path is listed as a URL.
        let location = location.strip_prefix("file://").filter(|_| root.starts_with('/')).unwrap_or(location);
        let below = location.strip_prefix(root)?.trim_start_matches('/');
        Some(fields(below.rsplit_once('/').map_or("", |(folders, _)| folders)))
    };
    let mut templates: Vec<Option<String>> = locations.iter().map(|location| below(location)).collect();
    templates.sort_unstable();
    templates.dedup();
    match templates.as_slice() {
        [Some(only)] if only.contains("{yyyy}") => Source { template: format!("{root}/{only}"), note: None },
        _ => Source {
            template: format!("{root}/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/"),
            note: Some("the raw files' folders show no one path template; write it as they lie".to_owned()),
        },
    }
}

/// `2025/06/04/10` → `{yyyy}/{MM}/{dd}/{HH}/`, `dt=2025-06-04` → `dt={yyyy}-{MM}-{dd}/`, and so on.
fn fields(folders: &str) -> String {
    let mut names = ["{yyyy}", "{MM}", "{dd}", "{HH}"].into_iter().peekable();
    let mut template = String::new();
    for segment in folders.split('/').filter(|segment| !segment.is_empty()) {
        let (key, value) = segment.split_once('=').map_or(("", segment), |(key, value)| (key, value));
        let parts: Vec<&str> = value.split('-').collect();
        let mut after = names.clone();
        let replaced: Option<Vec<&str>> = parts
            .iter()
            .map(|part| {
                let name = after.peek().copied()?;
                let digits = if name == "{yyyy}" { 4 } else { 2 };
                let fits = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
                fits.then(|| after.next()).flatten()
            })
            .collect();
        if !key.is_empty() {
            template.push_str(key);
            template.push('=');
        }
        match replaced {
            Some(replaced) => {
                template.push_str(&replaced.join("-"));
                names = after;
            }
            None => template.push_str(value),
        }
        template.push('/');
    }
    template
}

/// `s3://acme-raw/device-telemetry/` → `curated.device_telemetry`.
pub fn table_name(root: &str) -> Result<TableName> {
    let last = root.trim_end_matches('/').rsplit('/').find(|part| !part.is_empty() && *part != "..").unwrap_or("raw");
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    Ok(format!("curated.{name}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_show_their_template() {
        for (location, template) in [
            ("s3://b/t/2025/06/04/10/a.parquet", "s3://b/t/{yyyy}/{MM}/{dd}/{HH}/"),
            ("s3://b/t/year=2025/month=06/day=04/a.parquet", "s3://b/t/year={yyyy}/month={MM}/day={dd}/"),
            ("s3://b/t/dt=2025-06-04/hour=10/a.parquet", "s3://b/t/dt={yyyy}-{MM}-{dd}/hour={HH}/"),
            ("s3://b/t/eu/2025/06/04/a.parquet", "s3://b/t/eu/{yyyy}/{MM}/{dd}/"),
        ] {
            assert_eq!(guess("s3://b/t/", "s3://b/t/", &[location]).template, template);
        }
        assert!(guess("/raw/t", "/raw/t", &["file:///raw/t/part-0.parquet"]).note.is_some());
        assert!(guess("s3://b/t", "s3://b/t", &["s3://b/t/eu/2025/06/a", "s3://b/t/us/2025/06/a"]).note.is_some());
    }

    #[test]
    fn a_path_stays_a_path() {
        let source = guess("/lake/raw/t/", "/lake/raw/t/", &["file:///lake/raw/t/2025/06/04/10/a.parquet"]);
        assert_eq!(source.template, "/lake/raw/t/{yyyy}/{MM}/{dd}/{HH}/");
    }

    #[test]
    fn a_template_is_taken_as_it_is() {
        let raw = "s3://b/t/year={yyyy}/";
        assert_eq!(literal_folder(raw), "s3://b/t/");
        assert_eq!(guess(raw, literal_folder(raw), &[]).template, raw);
    }

    #[test]
    fn a_table_is_named_after_the_folder() {
        assert_eq!(table_name("s3://acme-raw/device-telemetry/").unwrap().to_string(), "curated.device_telemetry");
        assert_eq!(table_name("../Raw").unwrap().to_string(), "curated.raw");
    }
}
