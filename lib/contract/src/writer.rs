//! YAML text line by line, with the quotes that are needed and no others.

use crate::yaml::Scalar;

#[derive(Default)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(text);
        self.out.push('\n');
    }

    pub(crate) fn blank(&mut self) {
        self.out.push('\n');
    }

    /// One comment line for each line of the text.
    pub(crate) fn comment(&mut self, indent: usize, text: &str) {
        for line in text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            let clean: String = line.chars().filter(|c| !is_unprintable(*c)).collect();
            self.line(indent, format!("# {clean}").trim_end());
        }
    }

    /// A key with a text; several lines become a block. The key may start with `- `.
    pub(crate) fn text(&mut self, indent: usize, key: &str, text: &str) {
        if !is_block(text) {
            return self.line(indent, &format!("{key}: {}", scalar_text(&Scalar::Text(text.to_owned()))));
        }
        let inner = indent + if key.starts_with("- ") { 4 } else { 2 };
        self.line(indent, &format!("{key}: |-"));
        for line in text.split('\n') {
            if line.is_empty() { self.blank() } else { self.line(inner, line) }
        }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}

/// Whether a literal block gives the text back as it is.
fn is_block(text: &str) -> bool {
    let blank = |line: &str| line.chars().all(char::is_whitespace);
    text.contains('\n')
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with('\n')
        && text.split('\n').all(|line| line.is_empty() || !blank(line))
        && text.chars().all(|c| c == '\n' || !(is_unprintable(c) || is_break(c)))
}

/// A value after `key: `.
pub(crate) fn scalar_text(scalar: &Scalar) -> String {
    write(scalar, false)
}

/// A value inside of brackets or braces.
pub(crate) fn flow(scalar: &Scalar) -> String {
    write(scalar, true)
}

pub(crate) fn flow_list(scalars: impl Iterator<Item = Scalar>) -> String {
    format!("[{}]", scalars.map(|scalar| flow(&scalar)).collect::<Vec<_>>().join(", "))
}

fn write(scalar: &Scalar, inside: bool) -> String {
    match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(digits) => digits.clone(),
        Scalar::Text(text) if is_plain(text, inside) => text.clone(),
        Scalar::Text(text) => quote(text),
    }
}

/// Whether every YAML reader, old ones included, takes the text for that text without quotes.
fn is_plain(text: &str, inside: bool) -> bool {
    const WORDS: [&str; 12] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "none"];
    let last_is_fine = !text.ends_with([' ', ':']);
    let separators = text.contains(": ") || text.contains(" #") || text.contains('\t');
    let flow_marks = inside && text.contains([',', '[', ']', '{', '}', ':']);
    let known = text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric());
    starts_plain(text)
        && last_is_fine
        && !separators
        && !flow_marks
        && known
        && !WORDS.contains(&text.to_lowercase().as_str())
}

/// A letter first; or a version (`1.0.0`) or a span of time (`48h`), which no reader takes for a number.
fn starts_plain(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let version = text.split('.').count() == 3 && text.split('.').all(digits);
    let span = text.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(digits);
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') || version || span
}

fn quote(text: &str) -> String {
    // Regular expressions stay legible in single quotes, which have no escapes.
    let escapes = text.chars().any(|c| c == '\'' || is_unprintable(c) || is_break(c));
    if text.contains('\\') && !escapes {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_unprintable(c) || is_break(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

/// Line breaks of older versions of YAML.
fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_a_reader_needs_them() {
        let cases = [
            ("device_id", "device_id", "device_id"),
            ("a DESC, b", "a DESC, b", "\"a DESC, b\""),
            ("1.0.0", "1.0.0", "1.0.0"),
            ("48h", "48h", "48h"),
            ("1.0", "\"1.0\"", "\"1.0\""),
            ("007", "\"007\"", "\"007\""),
            ("1e3", "\"1e3\"", "\"1e3\""),
            ("No", "\"No\"", "\"No\""),
            ("", "\"\"", "\"\""),
            ("a: b", "\"a: b\"", "\"a: b\""),
            ("a #b", "\"a #b\"", "\"a #b\""),
            ("- a", "\"- a\"", "\"- a\""),
            ("^a\\d$", "'^a\\d$'", "'^a\\d$'"),
            ("- it's\\", "\"- it's\\\\\"", "\"- it's\\\\\""),
            ("a\u{1}", "\"a\\U00000001\"", "\"a\\U00000001\""),
            ("Grüße", "Grüße", "Grüße"),
        ];
        for (text, outside, inside) in cases {
            let scalar = Scalar::Text(text.to_owned());
            assert_eq!((scalar_text(&scalar).as_str(), flow(&scalar).as_str()), (outside, inside));
        }
    }
}
