//! What becomes of columns of the contract that no raw file of a run has.

use std::fmt;

use contract::{AbsentColumns, Column, Filled, Spelling, Type};
use serde::{Deserialize, Serialize};

/// The columns of a raw file by name, each with the table type that its values fit; `None` where there is none.
pub type RawColumns = Vec<(String, Option<Type>)>;

/// What the contract and the table say of columns that files may lack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContractColumns {
    /// The contract's columns.
    pub columns: Vec<Column>,
    /// What it says of absent ones.
    pub policy: Option<AbsentColumns>,
    /// Top-level columns of which the table has a value, or may have one.
    pub with_values: Vec<String>,
}

/// What becomes of a column, or of a field of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentDecision {
    /// The column, with the structs that it lies in.
    pub column: String,
    /// What becomes of it.
    pub action: AbsentAction,
    /// Why.
    pub reason: String,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentAction {
    /// The table's values stay.
    Keep,
    /// It is NULL in every row that the run writes.
    Null,
    /// It is there under its newer name too, which is read.
    PassOver,
    /// The run is refused: its source name is most likely wrong.
    Refuse,
}

/// Decides for every column that none of `files` has, in the contract's order, and says which earlier names are passed
/// over. Each set of columns stands for all files that have it; of no file nothing is said.
pub fn decide(contract: &ContractColumns, files: &[RawColumns]) -> Vec<AbsentDecision> {
    let files: Vec<Vec<RawField<'_>>> =
        files.iter().map(|file| file.iter().map(RawField::of_column).collect()).collect();
    let mut decisions = Vec::new();
    if !files.is_empty() {
        fields(contract, "", &contract.columns, &files, &mut decisions);
    }
    decisions
}

/// A raw column, or a field of one.
#[derive(Clone, Copy)]
struct RawField<'a> {
    name: &'a str,
    column_type: Option<&'a Type>,
}

impl<'a> RawField<'a> {
    fn of_column((name, column_type): &'a (String, Option<Type>)) -> Self {
        Self { name, column_type: column_type.as_ref() }
    }
}

/// `parent` is empty at the top, else the struct's name and a dot.
fn fields(
    contract: &ContractColumns,
    parent: &str,
    columns: &[Column],
    files: &[Vec<RawField<'_>>],
    decisions: &mut Vec<AbsentDecision>,
) {
    let spelling = if parent.is_empty() { Spelling::AnyCase } else { Spelling::ExactFirst };
    for column in columns {
        let path = format!("{parent}{}", column.name);
        let mut types = Vec::new();
        let mut both = Vec::new();
        for file in files {
            let names: Vec<&str> = file.iter().map(|field| field.name).collect();
            match column.filled_by(columns, &names, spelling) {
                Filled::By { place, passed_over } => {
                    types.push(file[place].column_type);
                    both.extend(passed_over.map(|earlier| (names[place], names[earlier])));
                }
                // Reading the file says what is wrong with it.
                Filled::Ambiguous { .. } => types.push(None),
                Filled::Absent => {}
            }
        }
        if types.is_empty() {
            decisions.push(decide_column(contract, column, columns, path));
            continue;
        }
        if let Some((name, earlier)) = both.first() {
            let reason = format!("raw files have both `{name}` and, from earlier, `{earlier}`: the first is read");
            decisions.push(AbsentDecision { column: path.clone(), action: AbsentAction::PassOver, reason });
        }
        inside(contract, &path, &column.column_type, &types, decisions);
    }
}

/// Looks at the fields of structs, wherever they lie in a type.
fn inside(
    contract: &ContractColumns,
    path: &str,
    declared: &Type,
    raw: &[Option<&Type>],
    decisions: &mut Vec<AbsentDecision>,
) {
    let raw = raw.iter().copied().flatten();
    match declared {
        Type::Primitive(_) => {}
        Type::Struct(columns) => {
            let structs = raw.filter_map(|raw| if let Type::Struct(fields) = raw { Some(fields) } else { None });
            let files: Vec<Vec<RawField<'_>>> =
                structs.map(|columns| columns.iter().map(raw_field).collect()).collect();
            if !files.is_empty() {
                fields(contract, &format!("{path}."), columns, &files, decisions);
            }
        }
        Type::List { element, .. } => {
            let elements =
                raw.filter_map(|raw| if let Type::List { element, .. } = raw { Some(&**element) } else { None });
            inside(contract, &format!("{path}.element"), element, &elements.map(Some).collect::<Vec<_>>(), decisions);
        }
        Type::Map { value, .. } => {
            let values = raw.filter_map(|raw| if let Type::Map { value, .. } = raw { Some(&**value) } else { None });
            inside(contract, &format!("{path}.value"), value, &values.map(Some).collect::<Vec<_>>(), decisions);
        }
    }
}

fn raw_field(column: &Column) -> RawField<'_> {
    RawField { name: &column.name, column_type: Some(&column.column_type) }
}

fn decide_column(contract: &ContractColumns, column: &Column, siblings: &[Column], path: String) -> AbsentDecision {
    let names: Vec<String> = column.raw_names(siblings).map(|name| format!("`{name}`")).collect();
    let seen = format!("no raw file of the run has it (looked for {})", names.join(", "));
    let has_values = contract.with_values.contains(&path) || path.contains('.');
    let (action, reason) = match (contract.policy, &column.source) {
        (Some(AbsentColumns::Null), _) => {
            (AbsentAction::Null, format!("{seen}; etl.absentColumns is set-null, so its rows have NULL there"))
        }
        (None, Some(source)) if !has_values => (
            AbsentAction::Refuse,
            format!("{seen}, and the table has no value of it: most likely etl.source should not be `{source}`"),
        ),
        _ => (AbsentAction::Keep, format!("{seen}; values that the table has stay, and new rows have NULL there")),
    };
    AbsentDecision { column: path, action, reason }
}

impl fmt::Display for AbsentDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            AbsentAction::PassOver => write!(f, "column `{}`: {}", self.column, self.reason),
            _ => write!(f, "absent column `{}`: {}", self.column, self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::{EpochUnit, PrimitiveType};

    use super::*;

    const LONG: Type = Type::Primitive(PrimitiveType::Long);

    fn column(name: &str, source: Option<&str>, renamed_from: &[&str], column_type: Type) -> Column {
        Column {
            name: name.to_owned(),
            source: source.map(str::to_owned),
            epoch_unit: EpochUnit::default(),
            renamed_from: renamed_from.iter().map(|name| (*name).to_owned()).collect(),
            column_type,
            required: false,
            description: None,
            constraints: Vec::new(),
        }
    }

    fn raw(names: &[&str]) -> RawColumns {
        names.iter().map(|name| ((*name).to_owned(), Some(LONG))).collect()
    }

    fn contract(policy: Option<AbsentColumns>, with_values: &[&str]) -> ContractColumns {
        let columns = vec![
            column("id", None, &[], LONG),
            column("temperature", Some("tmep"), &["celsius"], LONG),
            column("note", None, &[], LONG),
        ];
        ContractColumns { columns, policy, with_values: with_values.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn decisions(contract: &ContractColumns, files: &[RawColumns]) -> String {
        decide(contract, files).iter().map(|decision| format!("{decision}\n")).collect()
    }

    #[test]
    fn a_column_that_no_file_has_is_said_whatever_becomes_of_it() {
        let files = [raw(&["id", "temperature"]), raw(&["id", "other"])];
        insta::assert_snapshot!(decisions(&contract(None, &["temperature"]), &files), @"
        absent column `temperature`: no raw file of the run has it (looked for `tmep`, `celsius`); values that the table has stay, and new rows have NULL there
        absent column `note`: no raw file of the run has it (looked for `note`); values that the table has stay, and new rows have NULL there
        ");
        insta::assert_snapshot!(decisions(&contract(Some(AbsentColumns::Null), &[]), &files), @"
        absent column `temperature`: no raw file of the run has it (looked for `tmep`, `celsius`); etl.absentColumns is set-null, so its rows have NULL there
        absent column `note`: no raw file of the run has it (looked for `note`); etl.absentColumns is set-null, so its rows have NULL there
        ");
    }

    #[test]
    fn a_source_name_that_nothing_ever_had_is_refused_unless_the_contract_says_what_becomes_of_it() {
        let files = [raw(&["id"])];
        let action = |policy, with_values: &[&str]| decide(&contract(policy, with_values), &files)[0].action;
        assert_eq!(action(None, &[]), AbsentAction::Refuse);
        assert_eq!(action(None, &["temperature"]), AbsentAction::Keep);
        assert_eq!(action(Some(AbsentColumns::Keep), &[]), AbsentAction::Keep);
        assert_eq!(action(Some(AbsentColumns::Null), &[]), AbsentAction::Null);
        assert_eq!(decide(&contract(None, &[]), &files)[1].action, AbsentAction::Keep, "nobody names its source");
    }

    #[test]
    fn a_column_that_one_file_has_is_not_absent_and_no_file_says_nothing() {
        let some = [raw(&["id", "TMEP", "note"]), raw(&["id"])];
        assert_eq!(decisions(&contract(None, &[]), &some), "");
        assert_eq!(decisions(&contract(None, &[]), &[]), "");
    }

    #[test]
    fn an_earlier_name_beside_the_new_one_is_passed_over() {
        let files = [raw(&["id", "celsius", "tmep", "note"])];
        insta::assert_snapshot!(decisions(&contract(None, &[]), &files), @"column `temperature`: raw files have both `tmep` and, from earlier, `celsius`: the first is read");
    }

    #[test]
    fn fields_of_structs_wherever_they_lie() {
        let fields = |names: &[&str]| Type::Struct(names.iter().map(|name| column(name, None, &[], LONG)).collect());
        let list = |element| Type::List { element: Box::new(element), element_required: false };
        let declared = vec![
            column("s", None, &[], fields(&["a", "b"])),
            column("l", None, &[], list(fields(&["a", "b"]))),
            column("gone", None, &[], fields(&["a", "b"])),
        ];
        let contract = ContractColumns { columns: declared, policy: None, with_values: Vec::new() };
        let file: RawColumns =
            vec![("s".to_owned(), Some(fields(&["a"]))), ("l".to_owned(), Some(list(fields(&["b", "c"]))))];
        let absent: Vec<String> = decide(&contract, &[file]).into_iter().map(|decision| decision.column).collect();
        assert_eq!(absent, ["s.b", "l.element.a", "gone"]);
    }
}
