//! `uuid` in SQL. To Arrow it is sixteen bytes, to people text: where the two meet, the text is read as a uuid, and a uuid that
//! is cast to text is written as people write it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, FixedSizeBinaryBuilder, StringViewBuilder},
    compute::cast,
    datatypes::DataType,
};
use datafusion::{
    common::{
        DFSchema, Result, ScalarValue,
        config::ConfigOptions,
        plan_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        Between, BinaryExpr, Cast, ColumnarValue, DmlStatement, Expr, ExprSchemable, LogicalPlan, Operator,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WriteOp, dml::MergeIntoAction,
        expr::InList, expr_rewriter::NamePreserver, utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};
use uuid::Uuid;

/// What Arrow has a `uuid` as, and nobody compares with text otherwise.
const UUID: DataType = DataType::FixedSizeBinary(16);

/// Goes before the coercion of types, which knows no way from one to the other.
#[derive(Debug)]
pub(super) struct UuidAsText;

impl AnalyzerRule for UuidAsText {
    fn name(&self) -> &str {
        "uuid_as_text"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewritten)?.data)
    }
}

fn rewritten(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let mut plan = plan;
    // What a statement compares and assigns is of the target, which is no input of the plan.
    if let LogicalPlan::Dml(DmlStatement { op: WriteOp::MergeInto(merge), table_name, target, .. }) = &mut plan {
        let of_target = DFSchema::try_from_qualified_schema(table_name.clone(), &target.schema())?;
        schema.merge(&of_target);
        let mut changed = merge.as_ref().clone();
        for clause in &mut changed.clauses {
            let assigned: Vec<(&str, &mut Expr)> = match &mut clause.action {
                MergeIntoAction::Update(assignments) => {
                    assignments.iter_mut().map(|(column, value)| (column.as_str(), value)).collect()
                }
                MergeIntoAction::Insert { columns, values } if columns.is_empty() => {
                    let names = of_target.fields().iter().map(|field| field.name().as_str());
                    names.zip(values).collect()
                }
                MergeIntoAction::Insert { columns, values } => columns.iter().map(String::as_str).zip(values).collect(),
                MergeIntoAction::Delete => Vec::new(),
            };
            for (column, value) in assigned {
                let is_uuid =
                    of_target.field_with_unqualified_name(column).is_ok_and(|field| *field.data_type() == UUID);
                if is_uuid && is_text(value, &schema) {
                    *value = read(value.clone())?;
                }
            }
        }
        **merge = changed;
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| met(expr, &schema))?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// An expression in which text and uuid meet, with both of them uuids.
fn met(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_uuid = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| of == UUID);
    let as_uuid = |expr: Expr| if is_text(&expr, schema) { read(expr) } else { Ok(expr) };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(op)
                && (is_uuid(&left) || is_uuid(&right))
                && (is_text(&left, schema) || is_text(&right, schema)) =>
        {
            let (left, right) = (Box::new(as_uuid(*left)?), Box::new(as_uuid(*right)?));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::InList(InList { expr, list, negated })
            if is_uuid(&expr) && list.iter().any(|item| is_text(item, schema)) =>
        {
            let list = list.into_iter().map(as_uuid).collect::<Result<_>>()?;
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_uuid(&expr) => {
            let (low, high) = (Box::new(as_uuid(*low)?), Box::new(as_uuid(*high)?));
            Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
        }
        Expr::Cast(Cast { expr, field }) if field.data_type().is_string() && is_uuid(&expr) => {
            Transformed::yes(Expr::Cast(Cast { expr: Box::new(written(*expr)), field }))
        }
        other => Transformed::no(other),
    })
}

fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|of| of.is_string())
}

/// Text as a uuid: a literal at once, anything else row by row.
fn read(text: Expr) -> Result<Expr> {
    if let Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) =
        &text
    {
        let bytes = text.as_deref().map(parsed).transpose()?;
        return Ok(Expr::Literal(ScalarValue::FixedSizeBinary(16, bytes.map(|of| of.into_bytes().to_vec())), None));
    }
    Ok(ScalarUDF::new_from_impl(Conversion::reading()).call(vec![text]))
}

fn written(uuid: Expr) -> Expr {
    ScalarUDF::new_from_impl(Conversion::writing()).call(vec![uuid])
}

fn parsed(text: &str) -> Result<Uuid> {
    match Uuid::try_parse(text) {
        Ok(uuid) => Ok(uuid),
        Err(_) => {
            plan_err!("{text:?} is no uuid, and is compared with one: write 00000000-0000-0000-0000-000000000000")
        }
    }
}

/// One to the other, row by row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    name: &'static str,
    to: DataType,
    signature: Signature,
}

impl Conversion {
    fn reading() -> Self {
        Self { name: "uuid", to: UUID, signature: Signature::any(1, Volatility::Immutable) }
    }

    fn writing() -> Self {
        Self { name: "uuid_text", to: DataType::Utf8View, signature: Signature::any(1, Volatility::Immutable) }
    }

    fn convert(&self, values: &ArrayRef) -> Result<ArrayRef> {
        if self.to == UUID {
            let texts = cast(values, &DataType::Utf8View)?;
            let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
            for text in texts.as_string_view() {
                match text {
                    Some(text) => uuids.append_value(parsed(text)?.as_bytes())?,
                    None => uuids.append_null(),
                }
            }
            return Ok(Arc::new(uuids.finish()));
        }
        let mut texts = StringViewBuilder::with_capacity(values.len());
        for bytes in values.as_fixed_size_binary() {
            let uuid = bytes.and_then(|bytes| Uuid::from_slice(bytes).ok());
            texts.append_option(uuid.map(|uuid| uuid.to_string()));
        }
        Ok(Arc::new(texts.finish()))
    }
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return plan_err!("{} takes one value", self.name) };
        match value {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(self.convert(values)?)),
            ColumnarValue::Scalar(value) => {
                let converted = self.convert(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{FixedSizeBinaryArray, RecordBatch, StringViewArray},
        util::display::array_value_to_string,
    };
    use datafusion::{catalog::TableProvider, datasource::MemTable};
    use tempfile::TempDir;

    use super::*;
    use crate::{Session, SessionOptions, curated::context_of};

    const ONE: &str = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6";
    const OTHER: &str = "00000000-0000-0000-0000-000000000002";

    /// The first values that a query over `t (id uuid, text)` gives, as text.
    async fn asked(sql: &str) -> Result<Vec<String>> {
        let folder = TempDir::new().unwrap();
        let options =
            SessionOptions { memory_limit_bytes: 1 << 28, threads: 1, spill_dir: folder.path().to_path_buf() };
        let bytes = [ONE, OTHER].map(|text| Uuid::try_parse(text).unwrap().into_bytes());
        let ids: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap());
        let upper = ONE.to_uppercase();
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![upper.as_str(), ONE]));
        let batch = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).unwrap();
        let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap());
        let context = context_of(&Session::new(&options).unwrap(), vec![("c.t".parse().unwrap(), table)], 0).unwrap();
        let batches = context.sql(sql).await?.collect().await?;
        let values = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| array_value_to_string(batch.column(0), row).unwrap()));
        Ok(values.collect())
    }

    #[tokio::test]
    async fn a_uuid_is_compared_with_its_text() {
        let of = async |condition: &str| {
            asked(&format!("SELECT CAST(id AS VARCHAR) FROM t WHERE {condition}")).await.unwrap()
        };
        assert_eq!(of(&format!("id = '{ONE}'")).await, [ONE]);
        assert_eq!(of(&format!("'{}' = id", ONE.replace('-', "").to_uppercase())).await, [ONE]);
        assert_eq!(of(&format!("id <> '{ONE}'")).await, [OTHER]);
        assert_eq!(of(&format!("id < '{ONE}'")).await, [OTHER]);
        assert_eq!(of(&format!("id IS DISTINCT FROM '{ONE}'")).await, [OTHER]);
        assert_eq!(of(&format!("id IN ('{ONE}', NULL)")).await, [ONE]);
        assert_eq!(of(&format!("id NOT IN ('{ONE}')")).await, [OTHER]);
        assert_eq!(of(&format!("id BETWEEN '{OTHER}' AND '{OTHER}'")).await, [OTHER]);
        assert_eq!(of("id = text").await, [ONE], "row by row");
        assert_eq!(of(&format!("text IN (SELECT text FROM t WHERE id = '{ONE}')")).await, [ONE]);
    }

    #[tokio::test]
    async fn a_text_that_is_no_uuid_is_named() {
        for sql in ["SELECT id FROM t WHERE id = 'nobody'", "SELECT id FROM t WHERE id = concat(text, 'nobody')"] {
            let refused = asked(sql).await.unwrap_err().to_string();
            assert!(refused.contains("nobody") && refused.contains("is no uuid"), "{refused}");
        }
    }
}
