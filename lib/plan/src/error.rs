//! Facts that cannot be turned into a plan.

/// The result of making facts.
pub type Result<T> = std::result::Result<T, Error>;

/// An input that names no interval.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The end does not come after the start.
    #[error("the end {end} does not come after the start {start}")]
    EmptyInterval {
        /// The start as given.
        start: String,
        /// The end as given.
        end: String,
    },
    /// Text that is neither a date nor a time.
    #[error("{text:?} is not a date or time")]
    Time {
        /// The text as given.
        text: String,
        /// What the parser said.
        #[source]
        source: jiff::Error,
    },
}
