//! A fault at a place of a document, before the document's name is known.

use std::path::Path;

use crate::Error;

pub(crate) type Checked<T> = Result<T, Problem>;

/// A place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// 1-based.
    pub line: usize,
    /// 1-based.
    pub column: usize,
}

#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    message: String,
    help: String,
}

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: help.into() }
    }

    pub(crate) fn in_document(self, path: &Path) -> Error {
        let Self { place, message, help } = self;
        Error::Document { path: path.to_owned(), line: place.line, column: place.column, message, help }
    }
}

/// What to say about a word that is not among the known ones: the nearest one, or all of them.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let lower = word.to_lowercase();
    let near = known
        .iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        // A third of the letters may differ, and at least one must not.
        .filter(|(distance, candidate)| {
            let letters = candidate.chars().count();
            *distance <= letters.max(3) / 3 && (*distance < letters || letters == 0)
        });
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "nothing can stand here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Levenshtein's distance with transpositions of neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = usize::from(from[i - 1] != to[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + changed);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let known = ["primaryKey", "required", "name"];
        assert_eq!(suggest("primarykey", known), "did you mean `primaryKey`?");
        assert_eq!(suggest("requierd", known), "did you mean `required`?");
        assert_eq!(suggest("nullable", known), "known here: primaryKey, required, name");
    }
}
