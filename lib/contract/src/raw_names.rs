//! Which raw column fills a column: the one of its source name, else one of an earlier name.

use std::iter;

use crate::Column;

/// How names that differ by case only are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// Names that differ by case only cannot be told apart: columns of a file.
    AnyCase,
    /// The name that is spelled as asked comes first, then the only one that differs by case: fields of a struct.
    ExactFirst,
}

/// What fills a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// Nothing that is there.
    Absent,
    /// The raw column at this place.
    By {
        /// Its place among the raw names.
        place: usize,
        /// An earlier name of the column, by its place, that is there as well and is passed over.
        passed_over: Option<usize>,
    },
    /// Several raw columns of one name, at these places.
    Ambiguous {
        /// The name that was looked for.
        name: String,
        /// Their places, ascending.
        places: Vec<usize>,
    },
}

impl Column {
    /// Names that raw files may have the column under, the first of them first: its source name (its own unless
    /// `etl.source` says otherwise), then earlier names that none of its `siblings` reads.
    pub fn raw_names<'a>(&'a self, siblings: &'a [Self]) -> impl Iterator<Item = &'a str> {
        let is_read = move |name: &str| {
            let mut others = siblings.iter().filter(|other| other.name != self.name);
            others.any(|other| other.raw_name().to_lowercase() == name.to_lowercase())
        };
        let earlier = self.renamed_from.iter().map(String::as_str).filter(move |name| !is_read(name));
        iter::once(self.raw_name()).chain(earlier)
    }

    /// Which of the raw columns `present` fills this one, a column among `siblings`.
    pub fn filled_by(&self, siblings: &[Self], present: &[&str], spelling: Spelling) -> Filled {
        let mut found = None;
        for name in self.raw_names(siblings) {
            match places(name, present, spelling).as_slice() {
                [] => {}
                places => match (found, places) {
                    (Some(place), [earlier, ..]) => return Filled::By { place, passed_over: Some(*earlier) },
                    (None, [place]) => found = Some(*place),
                    (_, several) => return Filled::Ambiguous { name: name.to_owned(), places: several.to_vec() },
                },
            }
        }
        found.map_or(Filled::Absent, |place| Filled::By { place, passed_over: None })
    }

    fn raw_name(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }
}

/// Places of the columns that a name may mean.
fn places(name: &str, present: &[&str], spelling: Spelling) -> Vec<usize> {
    let lower = name.to_lowercase();
    let of = |is_meant: &dyn Fn(&str) -> bool| -> Vec<usize> {
        present.iter().enumerate().filter(|(_, present)| is_meant(present)).map(|(place, _)| place).collect()
    };
    let exact = of(&|present| present == name);
    match spelling {
        Spelling::ExactFirst if !exact.is_empty() => exact,
        _ => of(&|present| present.to_lowercase() == lower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EpochUnit, PrimitiveType, Type};

    fn column(name: &str, source: Option<&str>, renamed_from: &[&str]) -> Column {
        Column {
            name: name.to_owned(),
            source: source.map(str::to_owned),
            epoch_unit: EpochUnit::default(),
            renamed_from: renamed_from.iter().map(|name| (*name).to_owned()).collect(),
            column_type: Type::Primitive(PrimitiveType::Long),
            required: false,
            description: None,
            constraints: Vec::new(),
        }
    }

    fn by(place: usize) -> Filled {
        Filled::By { place, passed_over: None }
    }

    #[test]
    fn the_source_name_comes_first_and_earlier_names_after_it() {
        let siblings = [column("b", None, &["a", "z"]), column("other", Some("z"), &[])];
        let filled = |present: &[&str]| siblings[0].filled_by(&siblings, present, Spelling::AnyCase);
        assert_eq!(filled(&["x", "B"]), by(1));
        assert_eq!(filled(&["x", "A"]), by(1));
        assert_eq!(filled(&["a", "b"]), Filled::By { place: 1, passed_over: Some(0) });
        assert_eq!(filled(&["z"]), Filled::Absent, "another column reads it");
        let sourced = column("b", Some("s"), &["a"]);
        let filled = |present: &[&str]| sourced.filled_by(&[], present, Spelling::AnyCase);
        assert_eq!(filled(&["b", "a"]), by(1), "its own name is not its raw name");
        assert_eq!(filled(&["b"]), Filled::Absent);
    }

    #[test]
    fn names_that_differ_by_case_only() {
        let field = column("b", None, &[]);
        let filled = |present: &[&str], spelling| field.filled_by(&[], present, spelling);
        let both = Filled::Ambiguous { name: "b".to_owned(), places: vec![0, 1] };
        assert_eq!(filled(&["b", "B"], Spelling::AnyCase), both);
        assert_eq!(filled(&["b", "B"], Spelling::ExactFirst), by(0));
        assert_eq!(filled(&["B", "x"], Spelling::ExactFirst), by(0));
        assert_eq!(filled(&["b", "b"], Spelling::ExactFirst), both);
        let accented = column("É", None, &[]);
        assert_eq!(accented.filled_by(&[], &["é"], Spelling::AnyCase), by(0));
    }
}
