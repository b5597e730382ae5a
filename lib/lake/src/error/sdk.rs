//! What a call of an AWS SDK ended with, cut down to what may be shown.

use std::{error::Error as StdError, fmt::Debug};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{Failure, find};

/// Code for a request that could not be made.
pub(crate) const NOT_SENT: &str = "NotSent";

/// Status, code and message of a call that failed, or how far it got.
pub(crate) fn failure<E>(service: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + Debug + Send + Sync + 'static,
{
    if let Some(credentials) = find::<CredentialsError>(error) {
        let code = match credentials {
            CredentialsError::ProviderTimedOut(_) => Failure::TIMEOUT,
            _ => Failure::CREDENTIALS,
        };
        return Failure::new("the credential provider", None, Some(code), &chain(credentials));
    }
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            Failure::new(service, Some(status), answer.err().code(), answer.err().message().unwrap_or_default())
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            // The answer broke off or is not the service's: whatever its status says, it was not read.
            Failure::new(service, Some(status.max(500)), Some(Failure::CONNECTION), "the answer could not be read")
        }
        SdkError::TimeoutError(_) => Failure::new(service, None, Some(Failure::TIMEOUT), "no answer in time"),
        SdkError::DispatchFailure(broken) if broken.is_timeout() => {
            Failure::new(service, None, Some(Failure::TIMEOUT), "no answer in time")
        }
        SdkError::DispatchFailure(broken) => {
            let message = broken.as_connector_error().map(|error| chain(error)).unwrap_or_default();
            // The SDK has no type for it: nobody was configured to give credentials.
            let unsigned = message.contains("failed to select an auth scheme");
            let code = if unsigned { Failure::CREDENTIALS } else { Failure::CONNECTION };
            Failure::new(service, None, Some(code), &message)
        }
        SdkError::ConstructionFailure(_) => not_sent(service, error),
        _ => Failure::new(service, None, Some(Failure::CONNECTION), &chain(error)),
    }
}

/// A request that was never made.
pub(crate) fn not_sent(service: &'static str, error: impl StdError) -> Failure {
    Failure::new(service, None, Some(NOT_SENT), &chain(&error))
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
