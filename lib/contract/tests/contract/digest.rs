//! The digest changes with what influences rows, and with nothing else.

use contract::{
    AbsentColumns, Constraint, Contract, EpochUnit, Literal, MergeMode, Severity, TenantConflict, Tiering, Type,
};

use crate::meaning::wide;

fn digest(change: impl FnOnce(&mut Contract)) -> String {
    let mut contract = wide();
    change(&mut contract);
    contract.digest()
}

#[test]
fn it_is_stable() {
    // A setting that is not said changes nothing: intervals that were applied before there was one stay so.
    let unsaid = |contract: &mut Contract| {
        contract.absent_columns = None;
        contract.tenant_conflict = TenantConflict::Refuse;
    };
    assert_eq!(digest(unsaid), "7f44098e25e48f2d35b2b55561400486");
}

#[test]
fn what_people_read_and_how_files_are_laid_out_are_left_out() {
    let same: [fn(&mut Contract); 9] = [
        |contract| contract.id = "other".into(),
        |contract| contract.version = "3.0.0".into(),
        |contract| contract.description = None,
        |contract| contract.columns[0].description = None,
        |contract| {
            let Type::Struct(fields) = &mut contract.columns[3].column_type else { panic!("a struct") };
            fields[0].description = Some("described".into());
        },
        |contract| contract.sort_order.clear(),
        |contract| contract.merge_mode = MergeMode::CopyOnWrite,
        |contract| contract.target_file_bytes = 1,
        |contract| contract.tiering = Tiering::default(),
    ];
    for change in same {
        assert_eq!(digest(change), wide().digest());
    }
}

#[test]
fn what_influences_rows_changes_it() {
    let different: [fn(&mut Contract); 11] = [
        |contract| contract.columns[1].epoch_unit = EpochUnit::Seconds,
        |contract| contract.columns[1].constraints.push(Constraint::Maximum(Literal::Integer(5))),
        |contract| contract.columns[4].required = true,
        |contract| contract.columns[0].source = None,
        |contract| contract.key.clear(),
        |contract| contract.winner_order.clear(),
        |contract| contract.checks[0].severity = Severity::Warning,
        |contract| contract.thresholds.rows_min = None,
        |contract| contract.delete_marker = None,
        |contract| contract.absent_columns = Some(AbsentColumns::Keep),
        |contract| contract.tenant_conflict = TenantConflict::Refuse,
    ];
    let mut digests: Vec<String> = different.into_iter().map(digest).collect();
    digests.push(wide().digest());
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 12);
}
