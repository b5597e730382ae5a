//! Tables that other engines wrote, read as those engines read them; and what must be refused.

mod columns;
mod deletes;
mod foreign;
mod queries;
pub(crate) mod support;
pub(crate) mod synthetic;
