//! What a contract's text means, and what is said about a faulty one.

mod digest;
mod faults;
mod meaning;
mod round_trip;
mod shipped;
