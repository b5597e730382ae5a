//! How the name of a partition field is spelled in Avro, where a name has letters, digits and underscores alone. The one place
//! that knows it; readers go by field ids.

use std::fmt::Write;

/// The name as Iceberg's writers spell it (`AvroSchemaUtil.makeCompatibleName` of Java, `make_compatible_name` of PyIceberg):
/// `event-time` is `event_x2Dtime`, `1st` is `_1st`.
///
/// Java and PyIceberg leave the letters of every alphabet as they are. Avro's specification allows those of ASCII, and
/// parsers in C and Rust refuse a file with others: they are spelled as what is no letter, by their code units in UTF-16.
pub(crate) fn avro_name(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len());
    for (index, character) in name.chars().enumerate() {
        match character {
            'A'..='Z' | 'a'..='z' | '_' => spelled.push(character),
            '0'..='9' if index > 0 => spelled.push(character),
            '0'..='9' => spelled.extend(['_', character]),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(spelled, "_x{unit:X}").expect("a string takes what is written to it");
                }
            }
        }
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_java_and_pyiceberg_spell_them() {
        let cases = [
            ("event_time", "event_time"),
            ("event-time", "event_x2Dtime"),
            ("two words", "two_x20words"),
            ("1st", "_1st"),
            ("_1", "_1"),
            ("a1", "a1"),
            ("a.b", "a_x2Eb"),
            ("Event:Time", "Event_x3ATime"),
            ("\"x\"", "_x22x_x22"),
            ("a_x2Db", "a_x2Db"),
            ("😎", "_xD83D_xDE0E"),
        ];
        for (name, spelled) in cases {
            assert_eq!(avro_name(name), spelled, "{name}");
        }
    }

    #[test]
    fn letters_of_other_alphabets_are_spelled_in_those_that_avro_has() {
        assert_eq!(avro_name("größe"), "gr_xF6_xDFe");
        assert_eq!(avro_name("日本"), "_x65E5_x672C");
        assert_eq!(avro_name("٣"), "_x663", "a digit that is not of ASCII");
    }
}
