//! Fields of a raw struct that differ by case only: the one that is spelled as in the contract is taken, and where none is,
//! nobody can say which is meant.

/// The field of that name: exactly, else the one that differs by case alone; an error that lists several of those.
pub(super) fn find_field<'a>(names: &[&'a str], name: &str) -> Result<Option<usize>, Vec<&'a str>> {
    if let Some(exact) = names.iter().position(|candidate| *candidate == name) {
        return Ok(Some(exact));
    }
    let lower = name.to_lowercase();
    let alike: Vec<usize> = (0..names.len()).filter(|index| names[*index].to_lowercase() == lower).collect();
    match alike.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => Err(several.iter().map(|index| names[*index]).collect()),
    }
}
