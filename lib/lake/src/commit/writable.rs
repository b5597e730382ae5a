//! Which tables we would not write right: known from their metadata, so that a run can say so before it stages a file.

use iceberg::spec::FormatVersion;

use super::CommitError;
use crate::{Result, Table, manifest::inline_manifests};

/// What new data files are to be: we write Parquet.
const DATA_FORMAT: &str = "write.format.default";

/// The Java class that decides where data files lie.
const LOCATION_PROVIDER: &str = "write.location-provider.impl";

impl Table {
    /// Refuses tables that we would not write right. The commit asks the same, before anything else; a job asks before it
    /// stages files.
    pub fn check_writable(&self) -> Result<()> {
        Ok(check_writable(self)?)
    }
}

pub(super) fn check_writable(table: &Table) -> std::result::Result<(), CommitError> {
    let name = &table.name;
    let refuse =
        |what: &str, help: String| CommitError::Unwritable { table: name.clone(), what: what.to_owned(), help };
    match table.metadata.format_version() {
        FormatVersion::V1 => {
            let help = format!(
                "raise it once, with Spark: ALTER TABLE {name} SET TBLPROPERTIES ('format-version' = '2'); every current \
                 engine reads version 2"
            );
            return Err(refuse("it has format version 1", help));
        }
        FormatVersion::V3 => {
            let help = format!(
                "its rows have identities that etl does not assign yet, and no engine takes a table back to version 2: copy \
                 it, with Spark: CREATE TABLE {name}_v2 USING iceberg PARTITIONED BY (…) TBLPROPERTIES ('format-version' \
                 = '2') AS SELECT * FROM {name}"
            );
            return Err(refuse("it has format version 3", help));
        }
        FormatVersion::V2 => {}
    }
    if let Some(snapshot) = table.metadata.snapshots().find(|snapshot| inline_manifests(snapshot).is_some()) {
        let what = format!("its snapshot {} names its manifests itself, as early tables did", snapshot.snapshot_id());
        let help = "let that snapshot expire with the engine that wrote it, or copy the table".to_owned();
        return Err(refuse(&what, help));
    }
    if table.metadata.encryption_keys_iter().len() > 0 {
        return Err(refuse("it is encrypted", "write it with the engine that holds its keys".to_owned()));
    }
    let properties = table.metadata.properties();
    if let Some(format) = properties.get(DATA_FORMAT).filter(|format| !format.eq_ignore_ascii_case("parquet")) {
        let help = format!(
            "if its other writers agree: ALTER TABLE {name} SET TBLPROPERTIES ('{DATA_FORMAT}' = 'parquet'); files that \
             are not Parquet have to be rewritten, too"
        );
        return Err(refuse(&format!("its property {DATA_FORMAT} is {format:?}, and etl writes Parquet"), help));
    }
    if let Some(class) = properties.get(LOCATION_PROVIDER) {
        let help = format!(
            "where files of their own places are allowed: ALTER TABLE {name} UNSET TBLPROPERTIES ('{LOCATION_PROVIDER}')"
        );
        return Err(refuse(&format!("its files are placed by {class}, a class that etl cannot run"), help));
    }
    Ok(())
}
