//! Quality gates: thresholds of the contract and its checks, which keep a batch from being staged.

use contract::Contract;

use super::execute::Batch;

/// Each gate that a batch does not pass, for people.
pub(super) fn closed_gates(contract: &Contract, batch: &Batch) -> Vec<String> {
    let mut reasons = Vec::new();
    let (balance, thresholds) = (&batch.balance, &contract.thresholds);
    if let Some(max) = thresholds.invalid_rows_max.filter(|max| balance.invalid > *max) {
        reasons.push(format!("{} rows are invalid, etl.maxInvalidRows allows {max}", balance.invalid));
    }
    if let Some(max) = thresholds.invalid_ratio_max {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = balance.invalid as f64 / balance.read.max(1) as f64;
        if ratio > max {
            reasons.push(format!(
                "{:.2} % of rows are invalid, etl.maxInvalidRatio allows {:.2} %",
                ratio * 100.0,
                max * 100.0
            ));
        }
    }
    if let Some(min) = thresholds.rows_min.filter(|min| balance.read < *min) {
        reasons.push(format!("{} rows were read, etl.minRows asks for {min}", balance.read));
    }
    for check in batch.quality.iter().filter(|check| !check.passed && check.severity == "error") {
        let observed = check.observed.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
        reasons.push(format!("check {} gave {observed}, it must be {}", check.rule, check.expected));
    }
    reasons
}
