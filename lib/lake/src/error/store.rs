//! object_store's errors in our words.

use std::{error::Error as StdError, io};

use object_store::Error as StoreError;

use super::{Error, Failure, Operation};

/// What an error of a store means for the operation that met it.
pub(crate) fn from_store(operation: Operation, location: &str, error: StoreError) -> Error {
    let location = location.to_owned();
    match error {
        StoreError::Precondition { .. } | StoreError::NotModified { .. } => {
            return Error::Changed { operation, location };
        }
        StoreError::AlreadyExists { .. } => return Error::Occupied { location },
        StoreError::InvalidPath { source } => return Error::Location { location, reason: source.to_string() },
        _ => {}
    }
    if let Some(failure) = find::<Failure>(&error).cloned() {
        return from_failure(operation, location, failure);
    }
    let system = find::<io::Error>(&error).map(io::Error::kind);
    match (system, error) {
        (Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded), error) => {
            Error::DiskFull { operation, location, source: error.into() }
        }
        (Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem), error) => {
            Error::AccessDenied { operation, location, source: error.into() }
        }
        (_, StoreError::NotFound { .. }) => Error::NotFound { operation, location },
        (_, error) => Error::Storage { operation, location, source: error.into() },
    }
}

/// What the answer of a service means. Glue's answers come here too.
pub(crate) fn from_failure(operation: Operation, location: String, failure: Failure) -> Error {
    let code = failure.code.as_deref().unwrap_or_default();
    if failure.is_about_credentials() {
        return Error::Credentials { operation, location, source: failure.into() };
    }
    match code {
        "NoSuchBucket" => return Error::BucketMissing { operation, location, source: failure.into() },
        "InvalidObjectState" => return Error::Archived { operation, location, source: failure.into() },
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraint" => {
            let actual = failure.region.clone();
            return Error::WrongRegion { operation, location, actual, source: failure.into() };
        }
        _ => {}
    }
    match failure.status {
        Some(301 | 307) => {
            let actual = failure.region.clone();
            Error::WrongRegion { operation, location, actual, source: failure.into() }
        }
        Some(403) => Error::AccessDenied { operation, location, source: failure.into() },
        Some(404) => Error::NotFound { operation, location },
        _ if code.starts_with("AccessDenied") => Error::AccessDenied { operation, location, source: failure.into() },
        _ if failure.is_transient() => Error::Unavailable { operation, location, source: failure.into() },
        _ => Error::Storage { operation, location, source: failure.into() },
    }
}

/// The first error of this type beneath `error`.
pub(crate) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // An io::Error hides what it was made from behind `get_ref`; its `source` skips that.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = (inner as &(dyn StdError + 'static)).downcast_ref::<E>()
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}
