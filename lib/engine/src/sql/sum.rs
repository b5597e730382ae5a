//! `sum` that never wraps: whole numbers and decimals are added up in a wider type, and the total must fit.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_aggregate::sum::Sum,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use super::arithmetic::out_of_range;

/// The function, under DataFusion's name.
pub fn checked_sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(CheckedSum { plain: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    plain: Sum,
}

/// The type in which values of a type are added up; `None` where DataFusion's own sum does not wrap.
fn wide(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal128(_, scale) => Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)),
        _ => None,
    }
}

/// The arguments of the sum in the wide type, and that type.
fn widened<'a>(args: &AccumulatorArgs<'a>) -> Option<(AccumulatorArgs<'a>, DataType)> {
    let wide = wide(args.return_field.data_type())?;
    let field = args.return_field.as_ref().clone().with_data_type(wide.clone());
    Some((AccumulatorArgs { return_field: Arc::new(field), ..args.clone() }, wide))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.plain.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some((widened, wide)) = widened(&args) else { return self.plain.accumulator(args) };
        Ok(Box::new(Wide { sum: self.plain.accumulator(widened)?, kinds: Kinds::new(&args, wide) }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let Some((widened, wide)) = widened(&args) else { return self.plain.create_sliding_accumulator(args) };
        Ok(Box::new(Wide { sum: self.plain.create_sliding_accumulator(widened)?, kinds: Kinds::new(&args, wide) }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.plain.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let Some((widened, wide)) = widened(&args) else { return self.plain.create_groups_accumulator(args) };
        Ok(Box::new(Wide { sum: self.plain.create_groups_accumulator(widened)?, kinds: Kinds::new(&args, wide) }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(wide) = wide(args.return_field.data_type()) else { return self.plain.state_fields(args) };
        let return_field = Arc::new(args.return_field.as_ref().clone().with_data_type(wide));
        self.plain.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// From what type to what type.
#[derive(Debug)]
struct Kinds {
    wide: DataType,
    total: DataType,
    /// The sum as the statement says it.
    text: String,
}

impl Kinds {
    fn new(args: &AccumulatorArgs<'_>, wide: DataType) -> Self {
        Self { wide, total: args.return_field.data_type().clone(), text: args.name.to_owned() }
    }

    fn widen(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        values.iter().map(|array| Ok(cast_with_options(array, &self.wide, &options)?)).collect()
    }

    fn narrow(&self, totals: &ArrayRef) -> Result<ArrayRef> {
        let narrow = cast_with_options(totals, &self.total, &CastOptions { safe: true, ..CastOptions::default() })?;
        if narrow.null_count() == totals.null_count() {
            return Ok(narrow);
        }
        let lost = (0..totals.len()).find(|row| totals.is_valid(*row) && narrow.is_null(*row)).unwrap_or_default();
        let total = match totals.as_primitive_opt::<Decimal128Type>() {
            Some(totals) => totals.value_as_string(lost),
            None => ScalarValue::try_from_array(totals, lost)?.to_string(),
        };
        Err(out_of_range(&self.text, &self.total, &total))
    }
}

/// A sum in the wide type.
#[derive(Debug)]
struct Wide<A: ?Sized> {
    kinds: Kinds,
    sum: Box<A>,
}

impl Accumulator for Wide<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.update_batch(&self.kinds.widen(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.sum.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.kinds.narrow(&total)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.sum.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.sum.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.sum.retract_batch(&self.kinds.widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.sum.supports_retract_batch()
    }
}

impl GroupsAccumulator for Wide<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sum.update_batch(&self.kinds.widen(values)?, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.sum.evaluate(emit_to)?;
        self.kinds.narrow(&totals)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sum.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.sum.merge_batch(values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.sum.convert_to_state(&self.kinds.widen(values)?, opt_filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.size()
    }
}
