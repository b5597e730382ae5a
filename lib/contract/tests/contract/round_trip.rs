//! A contract that is written and read again is the same contract.

use std::{collections::BTreeMap, path::Path};

use contract::{
    AbsentColumns, Check, CheckScope, ColdClass, Column, Constraint, Contract, DeleteMarker, Direction, Duration,
    EpochUnit, Hold, Literal, MergeMode, NewColumns, Nulls, OrderTerm, PartitionField, PrimitiveType, Severity,
    TenantConflict, Thresholds, TierRule, Tiering, Transform, Type, render,
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_reads_back(contract in contracts(), notes in btree_map("[a-z]{0,2}0|", vec(any::<String>(), 0..3), 0..3)) {
        let text = render(&contract, &notes);
        match Contract::parse(Path::new("x.yaml"), &text) {
            Ok(read) => prop_assert_eq!(read, vec![contract], "{}", text),
            Err(error) => prop_assert!(false, "{}\n{}", error, text),
        }
    }
}

#[test]
fn the_wide_contract_reads_back() {
    let contract = crate::meaning::wide();
    let text = render(&contract, &BTreeMap::new());
    assert_eq!(Contract::parse(Path::new("x.yaml"), &text).map_err(|error| error.to_string()), Ok(vec![contract]));
}

#[test]
fn shipped_contracts_read_back() {
    for (name, text) in crate::shipped::documents() {
        let contracts = Contract::parse(Path::new(&name), &text).expect("a valid contract");
        for contract in contracts {
            let text = render(&contract, &BTreeMap::new());
            assert_eq!(Contract::parse(Path::new(&name), &text).map_err(|error| error.to_string()), Ok(vec![contract]));
        }
    }
}

const DAY_MICROSECONDS: i64 = 86_400_000_000;
/// The years 1 to 9999.
const DAYS: std::ops::Range<i64> = -719_162..2_932_896;

fn primitives() -> impl Strategy<Value = PrimitiveType> {
    prop_oneof![
        Just(PrimitiveType::Boolean),
        Just(PrimitiveType::Int),
        Just(PrimitiveType::Long),
        Just(PrimitiveType::Float),
        Just(PrimitiveType::Double),
        (1..=38_u8)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| PrimitiveType::Decimal { precision, scale }),
        Just(PrimitiveType::Date),
        Just(PrimitiveType::Time),
        Just(PrimitiveType::Timestamp),
        Just(PrimitiveType::TimestampTz),
        Just(PrimitiveType::String),
        Just(PrimitiveType::Uuid),
        (1..100_u32).prop_map(PrimitiveType::Fixed),
        Just(PrimitiveType::Binary),
    ]
}

fn literals(kind: PrimitiveType) -> BoxedStrategy<Literal> {
    match kind {
        PrimitiveType::Boolean => any::<bool>().prop_map(Literal::Boolean).boxed(),
        PrimitiveType::Int => any::<i32>().prop_map(|integer| Literal::Integer(integer.into())).boxed(),
        PrimitiveType::Long => any::<i64>().prop_map(Literal::Integer).boxed(),
        PrimitiveType::Float | PrimitiveType::Double => prop_oneof![
            (-1000..1000_i32).prop_map(f64::from),
            -1e6..1e6,
            any::<f64>().prop_filter("finite", |f| f.is_finite())
        ]
        .prop_map(Literal::Float)
        .boxed(),
        PrimitiveType::Decimal { precision, .. } => {
            let most = 10_i128.pow(precision.into()) - 1;
            (-most..=most).prop_map(Literal::Decimal).boxed()
        }
        PrimitiveType::Date => DAYS.prop_map(Literal::Integer).boxed(),
        PrimitiveType::Time => (0..DAY_MICROSECONDS).prop_map(Literal::Integer).boxed(),
        PrimitiveType::Timestamp | PrimitiveType::TimestampTz => {
            (DAYS.start * DAY_MICROSECONDS..DAYS.end * DAY_MICROSECONDS).prop_map(Literal::Integer).boxed()
        }
        PrimitiveType::Uuid => {
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(Literal::String).boxed()
        }
        PrimitiveType::String | PrimitiveType::Fixed(_) | PrimitiveType::Binary => {
            any::<String>().prop_map(Literal::String).boxed()
        }
    }
}

fn less(left: &Literal, right: &Literal) -> bool {
    match (left, right) {
        (Literal::Integer(left), Literal::Integer(right)) => left < right,
        (Literal::Float(left), Literal::Float(right)) => left < right,
        (Literal::Decimal(left), Literal::Decimal(right)) => left < right,
        _ => false,
    }
}

/// Lower and upper bound, lists of values, patterns and lengths, as far as each fits the type.
fn constraints(kind: PrimitiveType) -> BoxedStrategy<Vec<Constraint>> {
    let bytes = matches!(kind, PrimitiveType::Fixed(_) | PrimitiveType::Binary);
    let text = kind == PrimitiveType::String;
    let ordered = !bytes && !text && !matches!(kind, PrimitiveType::Boolean | PrimitiveType::Uuid);
    let bounds = (literals(kind), literals(kind), any::<[bool; 4]>());
    let lists = vec(vec(literals(kind), 1..4), 0..3);
    let pattern = select(vec!["^[a-z]+$", "\\d{3}", "é: #", "a'b\"c", "", "^(yes|no)$"]);
    let texts = (vec(pattern, 0..3), option::of(0..5_u64), option::of(5..9_u64));
    (bounds, lists, texts)
        .prop_map(
            move |((one, other, [low, high, low_excluded, high_excluded]), lists, (patterns, shortest, longest))| {
                let mut constraints = Vec::new();
                if ordered && (less(&one, &other) || less(&other, &one)) {
                    let (least, most) = if less(&one, &other) { (one, other) } else { (other, one) };
                    let lower =
                        if low_excluded { Constraint::ExclusiveMinimum(least) } else { Constraint::Minimum(least) };
                    let upper =
                        if high_excluded { Constraint::ExclusiveMaximum(most) } else { Constraint::Maximum(most) };
                    constraints.extend(low.then_some(lower));
                    constraints.extend(high.then_some(upper));
                }
                if text {
                    constraints.extend(shortest.map(Constraint::MinLength));
                    constraints.extend(longest.map(Constraint::MaxLength));
                    constraints.extend(patterns.iter().map(|pattern| Constraint::Pattern((*pattern).to_owned())));
                }
                if !bytes {
                    constraints.extend(lists.into_iter().map(|list| Constraint::OneOf(distinct(list))));
                }
                constraints.sort_by_key(rank);
                distinct(constraints)
            },
        )
        .boxed()
}

fn distinct<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    items.into_iter().for_each(|item| {
        if !kept.contains(&item) {
            kept.push(item)
        }
    });
    kept
}

fn rank(constraint: &Constraint) -> usize {
    let order =
        ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "enum"];
    order.iter().position(|rule| *rule == constraint.rule()).expect("a known rule")
}

/// Types with what only a column in `properties` can say about fields.
fn types() -> impl Strategy<Value = Type> {
    let leaf = primitives().prop_map(Type::Primitive);
    leaf.prop_recursive(3, 12, 3, |inner| {
        let plain = plain_types();
        prop_oneof![
            columns(inner.clone().boxed(), 1..4).prop_map(Type::Struct),
            (inner, any::<bool>())
                .prop_map(|(element, element_required)| Type::List { element: Box::new(element), element_required }),
            (primitives(), plain, any::<bool>()).prop_map(|(key, value, value_required)| Type::Map {
                key: Box::new(Type::Primitive(key)),
                value: Box::new(value),
                value_required,
            }),
        ]
    })
}

/// Types that fit into the text of a `physicalType`.
fn plain_types() -> impl Strategy<Value = Type> {
    primitives().prop_map(Type::Primitive).prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            vec(("[A-Za-z_ü][a-z0-9 <>,:\"]{0,4}", inner.clone(), any::<bool>()), 1..3).prop_map(|fields| {
                let field = |(index, (name, column_type, required)): (usize, (String, Type, bool))| Column {
                    name: format!("{name}{index}"),
                    source: None,
                    epoch_unit: EpochUnit::default(),
                    renamed_from: Vec::new(),
                    column_type,
                    required,
                    description: None,
                    constraints: Vec::new(),
                };
                Type::Struct(fields.into_iter().enumerate().map(field).collect())
            }),
            (inner, any::<bool>())
                .prop_map(|(element, element_required)| Type::List { element: Box::new(element), element_required }),
        ]
    })
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z][a-z_]{0,8}",
        1 => select(vec!["No", "desc", "a b", "ü", "x\"y", "it's", "- a", "a: b", "{a}", "#", "true", "1.", "a,b", "`q`"])
            .prop_map(str::to_owned),
    ]
}

fn columns(types: BoxedStrategy<Type>, count: std::ops::Range<usize>) -> BoxedStrategy<Vec<Column>> {
    let units = [EpochUnit::Seconds, EpochUnit::Milliseconds, EpochUnit::Microseconds, EpochUnit::Nanoseconds];
    let extras =
        (option::of(names()), vec(names(), 0..3), any::<bool>(), option::of(any::<String>()), select(units.to_vec()));
    let column = (names(), types, extras).prop_flat_map(|(name, column_type, extras)| {
        let constraints = match column_type {
            Type::Primitive(kind) => constraints(kind),
            _ => Just(Vec::new()).boxed(),
        };
        (Just((name, column_type, extras)), constraints)
    });
    // The index makes names unique; suffixes keep sources and earlier names apart from them.
    vec(column, count)
        .prop_map(|columns| {
            let column =
                |(index, ((name, column_type, (source, renamed, required, description, unit)), constraints))| {
                    let renamed: Vec<String> = renamed;
                    Column {
                        name: format!("{name}{index}"),
                        source: Option::map(source, |source: String| format!("{source}{index}s")),
                        epoch_unit: match column_type {
                            Type::Primitive(PrimitiveType::Timestamp | PrimitiveType::TimestampTz) => unit,
                            _ => EpochUnit::default(),
                        },
                        renamed_from: distinct(renamed.iter().map(|earlier| format!("{earlier}{index}r")).collect()),
                        column_type,
                        required,
                        description,
                        constraints,
                    }
                };
            columns.into_iter().enumerate().map(column).collect()
        })
        .boxed()
}

fn checks() -> impl Strategy<Value = Vec<Check>> {
    let number = || prop_oneof![(-10..10_i32).prop_map(f64::from), -1e9..1e9];
    let table = ("[a-zA-Z\\n\\t :#'\"]{0,30}", number(), number(), 0..6_u8, option::of(number())).prop_filter_map(
        "satisfiable",
        |(words, one, other, form, not)| {
            let (least, most) = if one < other { (one, other) } else { (other, one) };
            let (at_least, at_most, exclusive) = match form {
                0 => (Some(one), Some(one), false),
                1 => (Some(least), None, false),
                2 => (None, Some(most), true),
                3 => (Some(least), Some(most), false),
                4 if least < most => (Some(least), Some(most), true),
                _ if not.is_some() => (None, None, false),
                _ => return None,
            };
            Some(CheckScope::Table {
                query: format!("SELECT {words} FROM {{object}}"),
                at_least,
                at_most,
                exclusive,
                not,
            })
        },
    );
    let row = any::<String>()
        .prop_map(|expression| expression.replace(['{', '}'], "").trim().to_owned())
        .prop_filter("an expression", |expression| !expression.is_empty())
        .prop_map(|expression| CheckScope::Row { expression });
    let check = (prop_oneof![table, row], any::<bool>());
    vec(check, 0..4).prop_map(|checks| {
        let check = |(index, (scope, warning))| Check {
            name: format!("check {index}"),
            scope,
            severity: if warning { Severity::Warning } else { Severity::Error },
        };
        checks.into_iter().enumerate().map(check).collect()
    })
}

fn transform(kind: PrimitiveType, choice: usize) -> Option<Transform> {
    use PrimitiveType::{Binary, Boolean, Date, Decimal, Double, Float, Int, Long, String, Timestamp, TimestampTz};
    let fitting: &[Transform] = match kind {
        Float | Double => &[],
        Boolean => &[Transform::Identity],
        Date => &[Transform::Day, Transform::Month, Transform::Identity, Transform::Bucket(7)],
        Timestamp | TimestampTz => {
            &[Transform::Hour, Transform::Day, Transform::Year, Transform::Identity, Transform::Bucket(3)]
        }
        Int | Long | Decimal { .. } | String | Binary => {
            &[Transform::Truncate(4), Transform::Bucket(16), Transform::Identity]
        }
        _ => &[Transform::Identity, Transform::Bucket(16)],
    };
    fitting.get(choice % fitting.len().max(1)).copied()
}

fn contracts() -> impl Strategy<Value = Contract> {
    let head = (
        "\\S.{0,10}",
        "[0-9]{1,3}\\.[0-9]\\.[0-9](-rc[0-9])?",
        "[a-zA-Z_][a-z0-9_ -]{0,8}\\.[a-zA-Z0-9][a-z0-9_ -]{0,8}",
        option::of(any::<String>()),
    );
    let choices = vec((any::<[bool; 7]>(), 0..12_usize), 6);
    let numbers = (
        option::of(0.0..=1.0_f64),
        option::of(0..u64::try_from(i64::MAX).expect("positive")),
        option::of(0..5_u64),
        option::of(0..1_000_000_u64),
        65_536..1_000_000_000_u64,
    );
    let modes = (
        select(vec![NewColumns::Evolve, NewColumns::Freeze, NewColumns::Discard]),
        select(vec![MergeMode::Auto, MergeMode::CopyOnWrite, MergeMode::MergeOnRead]),
        any::<bool>(),
        tierings(),
        select(vec![None, Some(AbsentColumns::Keep), Some(AbsentColumns::Null)]),
        select(vec![TenantConflict::Refuse, TenantConflict::Move]),
    );
    let properties = btree_map("[a-z.: -]{1,8}x", any::<String>(), 0..3);
    let markers = primitives().prop_flat_map(|kind| (Just(kind), vec(literals(kind), 1..3)));
    (head, columns(types().boxed(), 1..6), choices, checks(), numbers, modes, properties, markers).prop_map(
        |(
            (id, version, table, description),
            mut columns,
            choices,
            checks,
            numbers,
            modes,
            properties,
            (marker_kind, marker_values),
        )| {
            let kind = |column: &Column| match column.column_type {
                Type::Primitive(kind) => Some(kind),
                _ => None,
            };
            let chosen = |columns: &[Column], flag: usize| -> Vec<(String, PrimitiveType, usize)> {
                let mut chosen: Vec<_> = columns
                    .iter()
                    .zip(&choices)
                    .filter(|(_, (flags, _))| flags[flag])
                    .filter_map(|(column, (_, rank))| Some((column.name.clone(), kind(column)?, *rank)))
                    .collect();
                chosen.sort_by_key(|(_, _, rank)| *rank);
                chosen
            };
            let inexact = |kind| matches!(kind, PrimitiveType::Float | PrimitiveType::Double);
            let key: Vec<String> =
                chosen(&columns, 0).into_iter().filter(|(_, kind, _)| !inexact(*kind)).map(|(name, ..)| name).collect();
            for column in &mut columns {
                column.required |= key.contains(&column.name);
            }
            let mut partition = Vec::new();
            for (column, kind, rank) in chosen(&columns, 1) {
                let Some(transform) = transform(kind, rank) else { continue };
                partition.push(PartitionField { column: column.clone(), transform });
                if rank % 3 == 0 && transform != Transform::Bucket(5) && kind != PrimitiveType::Boolean {
                    partition.push(PartitionField { column, transform: Transform::Bucket(5) });
                }
            }
            let timed =
                |kind| matches!(kind, PrimitiveType::Date | PrimitiveType::Timestamp | PrimitiveType::TimestampTz);
            let kind_of = |name: &str| columns.iter().find(|column| column.name == name).and_then(kind);
            let by_time = partition.iter().find(|field| {
                kind_of(&field.column).is_some_and(timed) && !matches!(field.transform, Transform::Bucket(_))
            });
            let named = chosen(&columns, 2).into_iter().find(|(_, kind, _)| timed(*kind)).map(|(name, ..)| name);
            let direction =
                |rank: usize| if rank.is_multiple_of(2) { Direction::Ascending } else { Direction::Descending };
            let nulls = |rank: usize| if rank.is_multiple_of(3) { Nulls::First } else { Nulls::Last };
            let term = |(column, _, rank): (String, _, usize)| OrderTerm {
                column,
                direction: direction(rank),
                nulls: nulls(rank),
            };
            let sort_order: Vec<OrderTerm> = chosen(&columns, 3).into_iter().map(term).collect();
            let last = |term| OrderTerm { nulls: Nulls::Last, ..term };
            let bytes = matches!(marker_kind, PrimitiveType::Fixed(_) | PrimitiveType::Binary);
            let marker = columns.iter().find(|column| kind(column) == Some(marker_kind) && !bytes);
            let (ratio, invalid_rows_max, rows_min, seconds, target_file_bytes) = numbers;
            Contract {
                id,
                version,
                table: table.parse().expect("a table's name"),
                description,
                event_time: named.or_else(|| by_time.map(|field| field.column.clone())),
                partition_fixed_per_key: modes.2 || partition.iter().all(|field| key.contains(&field.column)),
                winner_order: chosen(&columns, 4).into_iter().map(term).map(last).collect(),
                sort_order,
                checks,
                thresholds: Thresholds { invalid_ratio_max: ratio, invalid_rows_max, rows_min },
                new_columns: modes.0,
                absent_columns: modes.4,
                tenant_conflict: modes.5,
                delete_marker: marker.map(|column| DeleteMarker { column: column.name.clone(), values: marker_values }),
                lateness: seconds.map(|seconds| Duration { seconds }),
                tenant: chosen(&columns, 5).into_iter().next().map(|(name, ..)| name),
                merge_mode: modes.1,
                target_file_bytes,
                table_properties: properties.into_iter().collect(),
                tiering: modes.3,
                key,
                partition,
                columns,
            }
        },
    )
}

/// Each of its parts, or not.
fn tierings() -> impl Strategy<Value = Tiering> {
    let rule = |days: u64, class| TierRule { age: Duration { seconds: days * 86_400 }, class };
    let rules = move |classes: [ColdClass; 2]| {
        (30..200_u64, 30..200_u64, 0..3_usize).prop_map(move |(first, more, number)| {
            vec![rule(first, classes[0]), rule(first + more, classes[1])].into_iter().take(number).collect()
        })
    };
    let raw = rules([ColdClass::StandardIa, ColdClass::DeepArchive]);
    let curated = rules([ColdClass::StandardIa, ColdClass::GlacierIr]);
    let hot = option::of((0..1_000_u64).prop_map(|days| Duration { seconds: days * 86_400 }));
    let day = |day: i8| jiff::civil::date(2025, 1, day);
    let holds =
        vec((1..15_i8, 15..32_i8).prop_map(move |(start, end)| Hold { start: day(start), end: day(end) }), 0..3);
    (raw, curated, any::<bool>(), hot, holds).prop_map(|(raw, curated, archived, hot, holds)| Tiering {
        raw,
        curated,
        archived,
        hot,
        holds,
    })
}
