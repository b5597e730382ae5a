//! What a service answered, without what must not be shown: tokens, key ids, signed requests.

use std::fmt;

/// Longest part of a message that is kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The answer of a service to a request that failed: status, code and message, and nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Who answered: `S3`, `Glue`.
    pub service: &'static str,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The service's own code, such as `SlowDown`, or one of [`Failure::TIMEOUT`], [`Failure::CONNECTION`],
    /// [`Failure::CREDENTIALS`].
    pub code: Option<String>,
    /// Its message, shortened.
    pub message: String,
    /// The region a bucket lies in, when the answer says so.
    pub region: Option<String>,
}

impl Failure {
    /// Code for a request without an answer in time.
    pub const TIMEOUT: &'static str = "Timeout";
    /// Code for a connection that failed or broke.
    pub const CONNECTION: &'static str = "Connection";
    /// Code for credentials that could not be had.
    pub const CREDENTIALS: &'static str = "NoCredentials";

    /// A failure with a code of its own.
    pub fn new(service: &'static str, status: Option<u16>, code: Option<&str>, message: &str) -> Self {
        let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
        Self { service, status, code: code.map(str::to_owned), message, region: None }
    }

    /// Reads the XML body of an S3 error. Only `Code`, `Message` and `Region` are taken: other elements carry access
    /// keys, tokens and the signed request.
    pub fn from_xml(service: &'static str, status: Option<u16>, body: &str) -> Self {
        let mut failure =
            Self::new(service, status, element(body, "Code"), element(body, "Message").unwrap_or_default());
        failure.region = element(body, "Region").map(str::to_owned);
        failure
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        if matches!(self.status, Some(408 | 429 | 500..=599)) {
            return true;
        }
        self.code.as_deref().is_some_and(|code| {
            matches!(
                code,
                Self::TIMEOUT
                    | Self::CONNECTION
                    | "SlowDown"
                    | "InternalError"
                    | "ServiceUnavailable"
                    | "RequestTimeout"
                    | "RequestLimitExceeded"
                    | "TooManyRequestsException"
                    | "ThrottlingException"
                    | "Throttling"
            )
        })
    }

    /// Whether the request may have been carried out, since nobody answered it.
    pub fn is_unanswered(&self) -> bool {
        self.status.is_none() && matches!(self.code.as_deref(), Some(Self::TIMEOUT | Self::CONNECTION))
    }

    /// Whether the credentials themselves are at fault, and not what they may do.
    pub fn is_about_credentials(&self) -> bool {
        self.status == Some(401)
            || self.code.as_deref().is_some_and(|code| {
                matches!(
                    code,
                    Self::CREDENTIALS
                        | "InvalidAccessKeyId"
                        | "SignatureDoesNotMatch"
                        | "InvalidSignatureException"
                        | "IncompleteSignature"
                        | "IncompleteSignatureException"
                        | "UnrecognizedClientException"
                        | "MissingAuthenticationToken"
                        | "MissingAuthenticationTokenException"
                        | "ExpiredToken"
                        | "ExpiredTokenException"
                        | "InvalidToken"
                        | "InvalidClientTokenId"
                        | "RequestTimeTooSkewed"
                        | "RequestExpired"
                )
            })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered", self.service)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_answer_is_kept_but_code_and_message() {
        let body = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.\
                    </Message><Token-0>FwoGZXIvYXdzEXAMPLE</Token-0><RequestId>1</RequestId></Error>";
        let failure = Failure::from_xml("S3", Some(400), body);
        assert!(failure.is_about_credentials());
        assert_eq!(failure.to_string(), "S3 answered 400 ExpiredToken: The provided token has expired.");
        assert!(!format!("{failure:?}").contains("FwoG"));
    }

    #[test]
    fn throttling_is_transient_and_denial_is_not() {
        assert!(Failure::from_xml("S3", Some(503), "<Error><Code>SlowDown</Code></Error>").is_transient());
        assert!(Failure::new("Glue", Some(400), Some("ThrottlingException"), "").is_transient());
        assert!(!Failure::from_xml("S3", Some(403), "<Error><Code>AccessDenied</Code></Error>").is_transient());
    }
}
