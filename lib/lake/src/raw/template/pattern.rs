//! What a path template says of one path: text, fields of a time, and `*`. Both ways, and without a calendar.

use std::fmt::Write as _;

use jiff::civil;

use super::Granularity;

/// A template below its fixed root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// Digits: four of a year, two of the others, or as many as the number has.
    Field(Granularity, Width),
    /// `*`: any characters but a slash.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Padded,
    Unpadded,
}

/// What the end of a template means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A folder: everything in it.
    Folder,
    /// A folder, too, without the slash.
    Name,
    /// The name of a file, since it has a dot or a `*`; or of a folder.
    File,
}

/// The numbers that a path has in the place of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers([Option<i16>; 4]);

/// How a path fits a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fit<'p> {
    pub(super) numbers: Numbers,
    /// What `*` stands for where it begins a folder's or file's name: the name up to its end.
    pub(super) named: Vec<&'p str>,
    /// The path below the pattern; of a file that the pattern names, its name.
    pub(super) below: &'p str,
}

/// More `*` are taken for a mistake; each multiplies the ways in which a path may fit.
const ANY_MAX: usize = 4;

const FIELDS: [(&str, Granularity, Width); 7] = [
    ("yyyy", Granularity::Year, Width::Padded),
    ("MM", Granularity::Month, Width::Padded),
    ("M", Granularity::Month, Width::Unpadded),
    ("dd", Granularity::Day, Width::Padded),
    ("d", Granularity::Day, Width::Unpadded),
    ("HH", Granularity::Hour, Width::Padded),
    ("H", Granularity::Hour, Width::Unpadded),
];

impl Pattern {
    /// Reads the part of a template below its root.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = parts(text)?;
        let last = text.rsplit('/').next().unwrap_or_default();
        let end = match last {
            "" => End::Folder,
            name if name.contains(['.', '*']) => End::File,
            _ => End::Name,
        };
        if parts.iter().filter(|part| **part == Part::Any).count() > ANY_MAX {
            return Err(format!("it has more than {ANY_MAX} `*`"));
        }
        for pair in parts.windows(2) {
            let starts_with_digit = |part: &Part| match part {
                Part::Literal(text) => text.starts_with(|c: char| c.is_ascii_digit()),
                Part::Field(..) | Part::Any => true,
            };
            match pair {
                [Part::Any, Part::Any] => {
                    return Err("`**` is not known: write `*` for one folder of any name".to_owned());
                }
                [Part::Any, Part::Field(..)] => {
                    return Err("a field follows `*` at once, so that nobody knows where it begins".to_owned());
                }
                [Part::Field(_, Width::Unpadded), next] if starts_with_digit(next) => {
                    return Err(
                        "digits may follow {M}, {d} or {H} at once: write {MM}, {dd} or {HH}, or a text between"
                            .to_owned(),
                    );
                }
                _ => {}
            }
        }
        Ok(Self { parts, end })
    }

    /// The finest field; `None` when a coarser one is missing, the year above all.
    pub(super) fn granularity(&self) -> Option<Granularity> {
        let has = |field| self.parts.iter().any(|part| matches!(part, Part::Field(other, _) if *other == field));
        let present = Granularity::ALL.map(has);
        let fields = present.iter().take_while(|present| **present).count();
        (present.iter().filter(|present| **present).count() == fields).then_some(())?;
        fields.checked_sub(1).map(|last| Granularity::ALL[last])
    }

    /// Whether a year is in it.
    pub(super) fn has_year(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(Granularity::Year, _)))
    }

    /// Whether all files of a time lie beside each other when paths are sorted.
    pub(super) fn is_contiguous(&self) -> bool {
        let last_field = self.parts.iter().rposition(|part| matches!(part, Part::Field(..)));
        let first_any = self.parts.iter().position(|part| *part == Part::Any);
        first_any.is_none_or(|any| last_field.is_none_or(|field| field < any))
    }

    /// Whether paths are sorted as their times are, and what comes before the first `*` says the time.
    pub(super) fn is_chronological(&self) -> bool {
        let mut fields = Vec::new();
        for part in &self.parts {
            match part {
                Part::Field(_, Width::Unpadded) => return false,
                Part::Field(field, _) if !fields.contains(field) => fields.push(*field),
                _ => {}
            }
        }
        fields.is_sorted() && self.is_contiguous()
    }

    /// What paths of a time begin with, up to the first `*`, and never all of one.
    pub(super) fn start(&self, time: civil::DateTime) -> String {
        let mut start = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => start.push_str(text),
                Part::Field(field, width) => push(&mut start, time, *field, *width),
                Part::Any => return start,
            }
        }
        if self.end == End::File {
            start.pop();
        }
        start
    }

    /// How a path below the root fits; `None` when it does not, or in two ways that say different times.
    pub(super) fn fit<'p>(&self, path: &'p str) -> Option<Fit<'p>> {
        let mut fits = Vec::new();
        self.step(&self.parts, path, path, Numbers::default(), &mut Vec::new(), &mut fits);
        let first = fits.first()?;
        fits.iter().all(|fit| fit.numbers == first.numbers).then(|| fits.swap_remove(0))
    }

    fn step<'p>(
        &self,
        parts: &[Part],
        path: &'p str,
        rest: &'p str,
        numbers: Numbers,
        named: &mut Vec<&'p str>,
        fits: &mut Vec<Fit<'p>>,
    ) {
        let Some((part, parts)) = parts.split_first() else {
            let below = match self.end {
                End::Folder => Some(rest),
                _ if rest.is_empty() => path.rsplit('/').next(),
                _ => rest.strip_prefix('/'),
            };
            fits.extend(below.map(|below| Fit { numbers, named: named.clone(), below }));
            return;
        };
        match part {
            Part::Literal(text) => {
                if let Some(rest) = rest.strip_prefix(text.as_str()) {
                    self.step(parts, path, rest, numbers, named, fits);
                }
            }
            Part::Field(field, width) => {
                if let Some((number, rest)) = digits(rest, *field, *width)
                    && let Some(numbers) = numbers.with(*field, number)
                {
                    self.step(parts, path, rest, numbers, named, fits);
                }
            }
            Part::Any => {
                let begins_name = path.len() == rest.len() || path[..path.len() - rest.len()].ends_with('/');
                let name = rest.split('/').next().unwrap_or_default();
                let depth = named.len();
                if begins_name {
                    named.push(name);
                }
                for (end, _) in name.char_indices().chain([(name.len(), ' ')]) {
                    if end > 0 || !begins_name {
                        self.step(parts, path, &rest[end..], numbers, named, fits);
                    }
                }
                named.truncate(depth);
            }
        }
    }

    /// The folder below the root in which everything of a time lies, as far as fields no finer than this tell; with a slash
    /// at its end, or empty for the root.
    pub(super) fn folder(&self, time: civil::DateTime, finest: Granularity) -> String {
        let mut folder = String::new();
        let mut is_whole = true;
        for part in &self.parts {
            match part {
                Part::Literal(text) => folder.push_str(text),
                Part::Field(field, width) if *field <= finest => push(&mut folder, time, *field, *width),
                Part::Field(..) | Part::Any => {
                    is_whole = false;
                    break;
                }
            }
        }
        if is_whole && self.end == End::Name {
            folder.push('/');
        }
        folder.truncate(folder.rfind('/').map_or(0, |slash| slash + 1));
        folder
    }

    /// Whether [`Self::folder`] tells times of this length apart.
    pub(super) fn folders_tell(&self, length: Granularity) -> bool {
        let at = |year, month, day, hour| self.folder(civil::datetime(year, month, day, hour, 0, 0, 0), length);
        let first = at(2000, 1, 1, 0);
        first
            != match length {
                Granularity::Year => at(2001, 1, 1, 0),
                Granularity::Month => at(2000, 2, 1, 0),
                Granularity::Day => at(2000, 1, 2, 0),
                Granularity::Hour => at(2000, 1, 1, 1),
            }
    }

    /// A path of a time: where a file of that name would lie, `any` standing for each `*`.
    #[cfg(test)]
    pub(super) fn path(&self, time: civil::DateTime, any: &str, name: &str) -> String {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Field(field, width) => push(&mut path, time, *field, *width),
                Part::Any => path.push_str(any),
            }
        }
        match self.end {
            End::Folder => path + name,
            End::Name => format!("{path}/{name}"),
            End::File => path,
        }
    }
}

impl Numbers {
    /// The number of a field; 1, or the hour 0, where the pattern has no such field.
    pub(super) fn get(&self, field: Granularity) -> i16 {
        self.0[field as usize].unwrap_or(if field == Granularity::Hour { 0 } else { 1 })
    }

    /// With a number for a field; `None` when there is another one already.
    fn with(mut self, field: Granularity, number: i16) -> Option<Self> {
        let there = &mut self.0[field as usize];
        if there.is_some_and(|there| there != number) {
            return None;
        }
        *there = Some(number);
        Some(self)
    }
}

/// The number at the start of a text, and what follows it.
fn digits(text: &str, field: Granularity, width: Width) -> Option<(i16, &str)> {
    let run = text.bytes().take_while(u8::is_ascii_digit).count();
    let length = match (field, width) {
        (Granularity::Year, _) => 4,
        (_, Width::Padded) => 2,
        // All of them, so that nothing is left that could be part of the number.
        (_, Width::Unpadded) => run,
    };
    if run < length
        || length == 0
        || (width == Width::Unpadded && (length > 2 || (length == 2 && text.starts_with('0'))))
    {
        return None;
    }
    Some((text[..length].parse().ok()?, &text[length..]))
}

fn push(text: &mut String, time: civil::DateTime, field: Granularity, width: Width) {
    let (number, digits) = match field {
        Granularity::Year => (time.year(), 4),
        Granularity::Month => (time.month().into(), 2),
        Granularity::Day => (time.day().into(), 2),
        Granularity::Hour => (time.hour().into(), 2),
    };
    match width {
        Width::Padded => write!(text, "{number:0digits$}"),
        Width::Unpadded => write!(text, "{number}"),
    }
    .expect("a string takes all that is written");
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let literal = rest.find(['{', '}', '*']).map_or(rest, |special| &rest[..special]);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        rest = &rest[literal.len()..];
        let Some(special) = rest.chars().next() else { return Ok(parts) };
        rest = &rest[1..];
        match special {
            '*' => parts.push(Part::Any),
            '}' => return Err("a `}` was never opened".to_owned()),
            _ => {
                let (name, after) = rest.split_once('}').ok_or("a `{` is not closed")?;
                let known = FIELDS.iter().find(|(known, ..)| *known == name);
                let (_, field, width) = known.ok_or_else(|| unknown_field(name))?;
                parts.push(Part::Field(*field, *width));
                rest = after;
            }
        }
    }
}

fn unknown_field(name: &str) -> String {
    let known = "there are {yyyy}, {MM}, {dd} and {HH}, without leading zeros {M}, {d} and {H}, and * for any name";
    format!("{{{name}}} is not known; {known}")
}
