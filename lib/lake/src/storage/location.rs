//! Locations: absolute names of objects and folders, read literally.
//!
//! Nothing is percent-decoded, in `file:` as in `s3:` locations, as PyIceberg and Spark's S3 clients have it: the
//! object `a%20b` is `s3://bucket/a%20b`.

use std::{fmt, path::Path};

use object_store::path::{Path as ObjectPath, PathPart};

use crate::{Error, Result};

/// A parsed location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/key`; `s3a` and `s3n` mean the same.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, without a slash at its start or end.
        key: String,
    },
    /// A file or folder on this machine.
    Local {
        /// Absolute path, without its first slash and without one at its end.
        path: String,
    },
}

impl Location {
    /// Reads `s3://`, `s3a://`, `s3n://`, `file:///path`, `file:/path` and paths; relative ones start at the current
    /// directory. Refuses `.`, `..`, empty segments and control characters, which no two systems read alike.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Error::Location { location: text.to_owned(), reason: reason.to_owned() };
        for scheme in ["s3://", "s3a://", "s3n://"] {
            let Some(rest) = text.strip_prefix(scheme) else { continue };
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(refuse("it names no bucket"));
            }
            let key = key.strip_suffix('/').unwrap_or(key);
            check_segments(text, key)?;
            return Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() });
        }
        let path = match text.strip_prefix("file:") {
            Some(rest) if rest.starts_with("///") => &rest[2..],
            Some(rest) if rest.starts_with("//") => return Err(refuse("it names another host; write file:///path")),
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) => return Err(refuse("write file:///path")),
            None if text.contains("://") => return Err(refuse("only s3:// and file:/// are known")),
            None if text.is_empty() => return Err(refuse("it is empty")),
            None => text,
        };
        let absolute = std::path::absolute(Path::new(path)).map_err(|error| refuse(&error.to_string()))?;
        let absolute = absolute.to_str().ok_or_else(|| refuse("it is not Unicode"))?;
        let path = absolute.trim_start_matches('/').trim_end_matches('/');
        check_segments(text, path)?;
        Ok(Self::Local { path: path.to_owned() })
    }

    /// The path in the store of [`Self::root`].
    pub fn path(&self) -> Result<ObjectPath> {
        let path = match self {
            Self::S3 { key, .. } => key,
            Self::Local { path } => path,
        };
        ObjectPath::parse(path)
            .map_err(|error| Error::Location { location: self.to_string(), reason: error.to_string() })
    }

    /// What one store holds: the bucket, or `/` for all local files.
    pub fn root(&self) -> &str {
        match self {
            Self::S3 { bucket, .. } => bucket,
            Self::Local { .. } => "/",
        }
    }

    /// Another path in the same store.
    pub fn with_path(&self, path: &ObjectPath) -> Self {
        let path = path.as_ref().to_owned();
        match self {
            Self::S3 { bucket, .. } => Self::S3 { bucket: bucket.clone(), key: path },
            Self::Local { .. } => Self::Local { path },
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Local { path } => write!(f, "file:///{path}"),
        }
    }
}

fn check_segments(text: &str, path: &str) -> Result<()> {
    for segment in path.split('/').filter(|_| !path.is_empty()) {
        let reason = match PathPart::parse(segment) {
            Err(error) => error.to_string(),
            Ok(_) if segment.is_empty() => "it has an empty segment (`//`)".to_owned(),
            Ok(_) => continue,
        };
        return Err(Error::Location { location: text.to_owned(), reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        let location = Location::parse(text).unwrap();
        let again = location.with_path(&location.path().unwrap());
        assert_eq!(again, location);
        again.to_string()
    }

    #[test]
    fn all_spellings_of_one_object_are_one_location() {
        for scheme in ["s3", "s3a", "s3n"] {
            assert_eq!(round_trip(&format!("{scheme}://b/k/o.parquet")), "s3://b/k/o.parquet");
        }
        for path in ["/tmp/o", "file:/tmp/o", "file:///tmp/o", "/tmp/o/"] {
            assert_eq!(round_trip(path), "file:///tmp/o");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(round_trip("raw/o"), format!("file://{}/raw/o", here.display()));
    }

    #[test]
    fn odd_keys_are_read_literally() {
        for key in ["a b", "a%20b", "a%b", "a+b=c", "ü/ß", "a~b", "k=v/x#1", "a\\b", "a?b", "[x]{y}"] {
            assert_eq!(round_trip(&format!("s3://b/{key}")), format!("s3://b/{key}"));
            assert_eq!(round_trip(&format!("file:///r/{key}")), format!("file:///r/{key}"));
        }
    }

    #[test]
    fn what_systems_read_differently_is_refused_by_name() {
        for text in
            ["s3://b/a//b", "s3://b/../a", "s3://b/./a", "s3://b/a\nb", "s3:///k", "gs://b/k", "file://host/a", ""]
        {
            let error = Location::parse(text).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        assert!(Location::parse("../a").is_err());
    }
}
