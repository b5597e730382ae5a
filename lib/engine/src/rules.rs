//! The contract's rules, compiled once and asked of every batch: which rows break which rule.
//!
//! A value that cannot be read as declared breaks `column.type`; NULL in a required column breaks `column.required`;
//! the other rules leave NULL alone. NaN satisfies no bound, and −0 is 0.

mod row_check;

pub(crate) use row_check::bad_pattern;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::BooleanBuffer,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef,
        Time64MicrosecondType, TimestampMicrosecondType,
    },
    error::ArrowError,
};
use contract::{CheckScope, Constraint, Contract, Literal, Severity};
use datafusion::{logical_expr::Expr, physical_plan::PhysicalExpr};
use regex::Regex;

use crate::{
    Error, Result, Session,
    dedupe::{TENANT_RULE, query_fault, tenant_column},
    types::arrow_schema,
};

/// A compiled contract.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Columns that row checks in SQL were compiled against, as indices into the table's schema.
    sql_columns: Vec<usize>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    severity: Severity,
    /// Columns it looks at, as indices into the table's schema.
    columns: Vec<usize>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Type,
    Required,
    Value(ValueTest),
    Sql(Arc<dyn PhysicalExpr>),
    /// Asked of rows of one key together, not of a row.
    Tenant,
}

#[derive(Debug)]
enum ValueTest {
    Integer { min: i128, max: i128 },
    Float { min: f64, min_open: bool, max: f64, max_open: bool },
    Pattern(Regex),
    Length { min: u64, max: u64 },
    IntegerIn(Vec<i128>),
    FloatIn(Vec<f64>),
    TextIn(Vec<String>),
    BooleanIn(Vec<bool>),
}

/// Rows of a batch that break a rule.
#[derive(Debug)]
pub struct Broken {
    /// Index of the rule, for [`Rules::name`].
    pub rule: usize,
    /// Set where the rule is broken.
    pub rows: BooleanBuffer,
}

/// What a file's footer proves of one column, so that its values need not be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct ColumnProof {
    /// Every value can be read as declared.
    pub type_fits: bool,
    /// There is no NULL.
    pub no_nulls: bool,
}

/// The rules that one file's rows have to be asked.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: &'a Rules,
    active: Vec<usize>,
    /// Columns to read, as indices into the table's schema, ascending.
    pub columns: Vec<usize>,
}

impl Rules {
    /// Compiles a contract's rules against the table's columns.
    pub fn compile(contract: &Contract, schema: &SchemaRef, session: &Session) -> Result<Self> {
        let mut rules = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let mut add = |name: &str, test| {
                let name = format!("{}.{name}", field.name());
                rules.push(Rule { name, severity: Severity::Error, columns: vec![index], test });
            };
            add("type", Test::Type);
            let column = contract.column(field.name());
            // A contract may ask more of new rows than the table, which another engine may have made, does of old ones.
            if !field.is_nullable() || column.is_some_and(|column| column.required) {
                add("required", Test::Required);
            }
            for constraint in column.map_or(&[][..], |column| &column.constraints) {
                let test = value_test(constraint, field.data_type()).ok_or_else(|| Error::Unsupported {
                    subject: format!("rule {}.{}", field.name(), constraint.rule()),
                    reason: format!("it does not fit a column of type {}", field.data_type()),
                })?;
                add(constraint.rule(), Test::Value(test));
            }
        }
        let mut pending = Vec::new();
        let mut sql_columns = Vec::new();
        for check in &contract.checks {
            let CheckScope::Row { expression } = &check.scope else { continue };
            let refused = |reason| Error::Rule { name: check.name.clone(), reason };
            let logical = row_check::read(expression, schema, session).map_err(refused)?;
            let columns = columns_of(&logical, schema).map_err(|e| Error::compute("failed to bind checks", e))?;
            sql_columns.extend(&columns);
            pending.push((check, columns, logical));
        }
        sql_columns.sort_unstable();
        sql_columns.dedup();
        let sql_schema =
            nullable(&schema.project(&sql_columns).map_err(|e| Error::compute("failed to bind checks", e))?);
        for (check, columns, logical) in pending {
            let compiled = row_check::compile(logical, &sql_schema, session);
            let test = Test::Sql(compiled.map_err(|reason| Error::Rule { name: check.name.clone(), reason })?);
            rules.push(Rule { name: check.name.clone(), severity: check.severity, columns, test });
        }
        if tenant_column(contract).is_some() {
            let name = TENANT_RULE.to_owned();
            rules.push(Rule { name, severity: Severity::Error, columns: Vec::new(), test: Test::Tenant });
        }
        Ok(Self { rules, sql_columns })
    }

    /// The rule that keys of two tenants break, where there is one.
    pub fn tenant_conflict(&self) -> Option<usize> {
        self.rules.iter().rposition(|rule| matches!(rule.test, Test::Tenant))
    }

    /// A rule's name: `temperature.maximum`, or a check's own.
    pub fn name(&self, rule: usize) -> &str {
        &self.rules[rule].name
    }

    /// What breaking a rule means.
    pub fn severity(&self, rule: usize) -> Severity {
        self.rules[rule].severity
    }

    /// How many rules there are.
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// The rules that a file's footer does not already prove.
    pub fn for_file(&self, proof: impl Fn(usize) -> ColumnProof) -> Judge<'_> {
        let proven = |rule: &Rule| match rule.test {
            Test::Type => proof(rule.columns[0]).type_fits,
            Test::Required => proof(rule.columns[0]).no_nulls,
            Test::Value(_) | Test::Sql(_) => false,
            Test::Tenant => true,
        };
        let active: Vec<usize> = (0..self.rules.len()).filter(|rule| !proven(&self.rules[*rule])).collect();
        let mut columns: Vec<usize> =
            active.iter().flat_map(|rule| self.rules[*rule].columns.iter().copied()).collect();
        if active.iter().any(|rule| matches!(self.rules[*rule].test, Test::Sql(_))) {
            columns.extend(&self.sql_columns);
        }
        columns.sort_unstable();
        columns.dedup();
        Judge { rules: self, active, columns }
    }
}

impl Judge<'_> {
    /// Judges rows. `columns` are the indices (into the table's schema) of the batch's columns, ascending, and hold at
    /// least [`Self::columns`]; `failed` is parallel to them.
    pub fn broken(
        &self,
        columns: &[usize],
        batch: &RecordBatch,
        failed: &[Option<BooleanBuffer>],
    ) -> Result<Vec<Broken>> {
        let place = |column: usize| columns.binary_search(&column).expect("the judge's columns are read");
        let mut broken = Vec::new();
        let mut sql_batch = None;
        for rule_index in &self.active {
            let rule = &self.rules.rules[*rule_index];
            let rows = match &rule.test {
                Test::Type => failed[place(rule.columns[0])].clone(),
                Test::Required => {
                    let place = place(rule.columns[0]);
                    missing(batch.column(place), failed[place].as_ref())
                }
                Test::Tenant => None,
                Test::Value(test) => test.broken(batch.column(place(rule.columns[0]))),
                Test::Sql(expression) => {
                    if sql_batch.is_none() {
                        let places: Vec<usize> = self.rules.sql_columns.iter().map(|column| place(*column)).collect();
                        sql_batch =
                            Some(batch.project(&places).map_err(|e| Error::compute("failed to run checks", e))?);
                    }
                    let batch = sql_batch.as_ref().expect("made above");
                    let broken = row_check::broken(expression, batch);
                    let subject = || format!("check {}", rule.name);
                    Some(broken.map_err(|cause| Error::Sql { subject: subject(), cause: Box::new(cause) })?)
                }
            };
            if let Some(rows) = rows.filter(|rows| rows.count_set_bits() > 0) {
                broken.push(Broken { rule: *rule_index, rows });
            }
        }
        Ok(broken)
    }
}

/// What is wrong with a contract's checks, before there is a table: the check's place in [`Contract::checks`], and why.
/// Fails when another rule cannot be asked of its column.
pub async fn faults(contract: &Contract, session: &Session) -> Result<Vec<(usize, String)>> {
    let failed = |source| Error::compute(format!("failed to read the columns of {}", contract.table), source);
    let schema = arrow_schema(&lake::schema_for(contract).map_err(failed)?)?;
    let mut faults = Vec::new();
    for (index, check) in contract.checks.iter().enumerate() {
        let fault = match &check.scope {
            CheckScope::Row { expression } => {
                let read = row_check::read(expression, &schema, session);
                read.and_then(|logical| row_check::compile(logical, &nullable(&schema), session)).err()
            }
            CheckScope::Table { query, .. } => query_fault(session, query, &schema).await,
        };
        faults.extend(fault.map(|reason| (index, reason)));
    }
    if faults.is_empty() {
        Rules::compile(contract, &schema, session)?;
    }
    Ok(faults)
}

/// The columns that an expression names, as indices.
fn columns_of(expression: &Expr, schema: &SchemaRef) -> std::result::Result<Vec<usize>, ArrowError> {
    expression.column_refs().into_iter().map(|column| schema.index_of(&column.name)).collect()
}

fn nullable(schema: &arrow::datatypes::Schema) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// NULL where no value was lost: a value that did not fit breaks `type`, not `required` as well.
fn missing(array: &ArrayRef, failed: Option<&BooleanBuffer>) -> Option<BooleanBuffer> {
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    let missing = !nulls.inner();
    Some(match failed {
        Some(failed) => &missing & &!failed,
        None => missing,
    })
}

fn value_test(constraint: &Constraint, data_type: &DataType) -> Option<ValueTest> {
    let float = data_type.is_floating();
    Some(match constraint {
        Constraint::Minimum(literal) if float => {
            ValueTest::Float { min: number(literal)?, min_open: false, max: f64::INFINITY, max_open: false }
        }
        Constraint::ExclusiveMinimum(literal) if float => {
            ValueTest::Float { min: number(literal)?, min_open: true, max: f64::INFINITY, max_open: false }
        }
        Constraint::Maximum(literal) if float => {
            ValueTest::Float { min: f64::NEG_INFINITY, min_open: false, max: number(literal)?, max_open: false }
        }
        Constraint::ExclusiveMaximum(literal) if float => {
            ValueTest::Float { min: f64::NEG_INFINITY, min_open: false, max: number(literal)?, max_open: true }
        }
        Constraint::Minimum(literal) => ValueTest::Integer { min: integer(literal)?, max: i128::MAX },
        Constraint::ExclusiveMinimum(literal) => {
            ValueTest::Integer { min: integer(literal)?.saturating_add(1), max: i128::MAX }
        }
        Constraint::Maximum(literal) => ValueTest::Integer { min: i128::MIN, max: integer(literal)? },
        Constraint::ExclusiveMaximum(literal) => {
            ValueTest::Integer { min: i128::MIN, max: integer(literal)?.saturating_sub(1) }
        }
        Constraint::Pattern(pattern) => ValueTest::Pattern(Regex::new(pattern).ok()?),
        Constraint::MinLength(min) => ValueTest::Length { min: *min, max: u64::MAX },
        Constraint::MaxLength(max) => ValueTest::Length { min: 0, max: *max },
        Constraint::OneOf(literals) if float => ValueTest::FloatIn(literals.iter().map(number).collect::<Option<_>>()?),
        Constraint::OneOf(literals) => match literals.first()? {
            Literal::String(_) => ValueTest::TextIn(
                literals
                    .iter()
                    .map(|literal| if let Literal::String(text) = literal { Some(text.clone()) } else { None })
                    .collect::<Option<_>>()?,
            ),
            Literal::Boolean(_) => ValueTest::BooleanIn(
                literals
                    .iter()
                    .map(|literal| if let Literal::Boolean(truth) = literal { Some(*truth) } else { None })
                    .collect::<Option<_>>()?,
            ),
            _ => ValueTest::IntegerIn(literals.iter().map(integer).collect::<Option<_>>()?),
        },
    })
}

fn integer(literal: &Literal) -> Option<i128> {
    match literal {
        Literal::Integer(value) => Some(i128::from(*value)),
        Literal::Decimal(value) => Some(*value),
        _ => None,
    }
}

fn number(literal: &Literal) -> Option<f64> {
    match literal {
        Literal::Float(value) => Some(*value),
        #[expect(clippy::cast_precision_loss, reason = "a bound written as an integer for a floating-point column")]
        Literal::Integer(value) => Some(*value as f64),
        _ => None,
    }
}

impl ValueTest {
    fn broken(&self, array: &ArrayRef) -> Option<BooleanBuffer> {
        match self {
            Self::Integer { min, max } => integers(array, |value| *min <= value && value <= *max),
            Self::IntegerIn(values) => integers(array, |value| values.contains(&value)),
            Self::Float { min, min_open, max, max_open } => floats(array, |value| {
                let above = if *min_open { value > *min } else { value >= *min };
                let below = if *max_open { value < *max } else { value <= *max };
                above && below
            }),
            Self::FloatIn(values) => floats(array, |value| values.contains(&value)),
            Self::Pattern(pattern) => texts(array, |text| pattern.is_match(text)),
            Self::Length { min, max } => {
                let fits = |length: usize| (*min..=*max).contains(&(length as u64));
                match array.data_type() {
                    DataType::BinaryView => {
                        let bytes = array.as_binary_view();
                        Some(violated(array, |row| fits(bytes.value(row).len())))
                    }
                    _ => texts(array, |text| fits(text.chars().count())),
                }
            }
            Self::TextIn(values) => match array.data_type() {
                DataType::FixedSizeBinary(16) => {
                    let uuids: Vec<uuid::Uuid> = values.iter().filter_map(|text| text.parse().ok()).collect();
                    let array_values = array.as_fixed_size_binary();
                    Some(violated(array, |row| {
                        uuids.iter().any(|uuid| uuid.as_bytes().as_slice() == array_values.value(row))
                    }))
                }
                _ => texts(array, |text| values.iter().any(|value| value == text)),
            },
            Self::BooleanIn(values) => {
                let truths = array.as_boolean_opt()?;
                Some(violated(array, |row| values.contains(&truths.value(row))))
            }
        }
    }
}

fn violated(array: &ArrayRef, fits: impl Fn(usize) -> bool) -> BooleanBuffer {
    match array.nulls() {
        Some(nulls) => BooleanBuffer::collect_bool(array.len(), |row| nulls.is_valid(row) && !fits(row)),
        None => BooleanBuffer::collect_bool(array.len(), |row| !fits(row)),
    }
}

fn integers(array: &ArrayRef, fits: impl Fn(i128) -> bool) -> Option<BooleanBuffer> {
    macro_rules! values {
        ($kind:ty) => {{
            let values = array.as_primitive::<$kind>().values();
            Some(violated(array, |row| fits(i128::from(values[row]))))
        }};
    }
    match array.data_type() {
        DataType::Int32 => values!(Int32Type),
        DataType::Int64 => values!(Int64Type),
        DataType::Date32 => values!(Date32Type),
        DataType::Time64(_) => values!(Time64MicrosecondType),
        DataType::Timestamp(..) => values!(TimestampMicrosecondType),
        DataType::Decimal128(..) => values!(Decimal128Type),
        _ => None,
    }
}

fn floats(array: &ArrayRef, fits: impl Fn(f64) -> bool) -> Option<BooleanBuffer> {
    match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().values();
            Some(violated(array, |row| fits(f64::from(values[row]))))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            Some(violated(array, |row| fits(values[row])))
        }
        _ => None,
    }
}

fn texts(array: &ArrayRef, fits: impl Fn(&str) -> bool) -> Option<BooleanBuffer> {
    let texts = array.as_string_view_opt()?;
    Some(violated(array, |row| fits(texts.value(row))))
}
