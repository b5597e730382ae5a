//! What Glue's answers mean: done, somebody else was first, refused for good, or nobody knows.

use std::{error::Error as StdError, fmt::Debug};

use aws_sdk_glue::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::Swap;
use crate::{
    Error, Failure, Operation,
    error::{
        from_failure,
        sdk::{self, NOT_SENT},
    },
};

pub(super) const ALREADY_EXISTS: &str = "AlreadyExistsException";
const SERVICE: &str = "Glue";
/// Status, code and message of a call that failed, or how far it got.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + Debug + Send + Sync + 'static,
{
    sdk::failure(SERVICE, error)
}

/// A request that was never made.
pub(super) fn not_sent(error: impl StdError) -> Failure {
    sdk::not_sent(SERVICE, error)
}

pub(super) fn is_not_found(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("EntityNotFoundException")
}

/// The failure as an error of ours.
pub(super) fn translate(operation: Operation, catalog: String, failure: Failure) -> Error {
    if is_not_found(&failure) {
        return Error::NotFound { operation, location: catalog };
    }
    match from_failure(operation, catalog, failure) {
        Error::Storage { operation, location, source } => Error::Catalog { operation, catalog: location, source },
        error => error,
    }
}

/// How a change of a table ended.
///
/// Definite is only what Glue says before it touches the table. Throttling and limits are left unknown although they
/// are most likely without effect: an unknown swap is looked up and sent again, which is what a throttled one needs,
/// while a wrong "definite" would delete the metadata of a table.
pub(super) fn swap(operation: Operation, catalog: String, sent: Result<(), Failure>) -> Swap {
    let Err(failure) = sent else { return Swap::Committed };
    let code = failure.code.clone().unwrap_or_default();
    let answered = failure.status.is_some_and(|status| status < 500);
    let credentials = failure.is_about_credentials();
    let error = translate(operation, catalog, failure);
    match code.as_str() {
        "ConcurrentModificationException" if answered => Swap::Conflict,
        ALREADY_EXISTS if answered && operation == Operation::Create => Swap::Conflict,
        NOT_SENT | Failure::CREDENTIALS => Swap::Rejected(error),
        ALREADY_EXISTS
        | "EntityNotFoundException"
        | "InvalidInputException"
        | "ValidationException"
        | "AccessDeniedException"
            if answered =>
        {
            Swap::Rejected(error)
        }
        _ if answered && credentials => Swap::Rejected(error),
        _ => Swap::Unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn ended(operation: Operation, status: Option<u16>, code: &str) -> Swap {
        swap(operation, "glue table a.b".to_owned(), Err(Failure::new(SERVICE, status, Some(code), "")))
    }

    #[test]
    fn a_conflict_is_what_glue_calls_one() {
        let code = "ConcurrentModificationException";
        assert!(matches!(ended(Operation::Update, Some(400), code), Swap::Conflict));
        assert!(matches!(ended(Operation::Create, Some(400), ALREADY_EXISTS), Swap::Conflict));
        assert!(matches!(ended(Operation::Update, Some(500), code), Swap::Unknown(_)));
    }

    #[test]
    fn only_answers_from_before_the_effect_are_definite() {
        let cases = [
            ("EntityNotFoundException", ErrorKind::NotFound),
            ("AccessDeniedException", ErrorKind::AccessDenied),
            ("InvalidInputException", ErrorKind::Failed),
            ("ValidationException", ErrorKind::Failed),
            ("ExpiredTokenException", ErrorKind::Configuration),
        ];
        for (code, kind) in cases {
            match ended(Operation::Update, Some(400), code) {
                Swap::Rejected(error) => assert_eq!(error.kind(), kind, "{code}"),
                other => panic!("{code}: {other:?}"),
            }
        }
        assert!(matches!(ended(Operation::Update, None, Failure::CREDENTIALS), Swap::Rejected(_)));
    }

    #[test]
    fn everything_else_is_unknown() {
        let cases = [
            (Some(400), "OperationTimeoutException"),
            (Some(400), "ThrottlingException"),
            (Some(400), "ResourceNumberLimitExceededException"),
            (Some(400), "GlueEncryptionException"),
            (Some(400), "SomethingNewException"),
            (Some(500), "InternalServiceException"),
            (Some(500), "AccessDeniedException"),
            (Some(503), "ServiceUnavailable"),
            (None, Failure::TIMEOUT),
            (None, Failure::CONNECTION),
        ];
        for (status, code) in cases {
            assert!(matches!(ended(Operation::Update, status, code), Swap::Unknown(_)), "{status:?} {code}");
        }
    }
}
