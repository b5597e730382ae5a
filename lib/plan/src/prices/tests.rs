use insta::assert_snapshot;

use super::*;

fn price(nanos: i64) -> Dollars {
    Dollars { nanos }
}

/// The prices of us-east-1 that the tests reckon with.
fn prices() -> Prices {
    let bare = ClassPrices {
        storage_per_gib_month: price(23_000_000),
        put_per_1000: price(5_000_000),
        list_per_1000: price(5_000_000),
        get_per_1000: price(400_000),
        transition_per_1000: Dollars::ZERO,
        retrieval_per_gib: Dollars::ZERO,
        monitoring_per_1000: Dollars::ZERO,
        stored_days_min: 0,
        billable_bytes_min: 0,
        overhead_bytes: 0,
        overhead_standard_bytes: 0,
        restore: BTreeMap::new(),
    };
    let infrequent = ClassPrices {
        storage_per_gib_month: price(12_500_000),
        retrieval_per_gib: price(10_000_000),
        transition_per_1000: price(10_000_000),
        billable_bytes_min: 128 << 10,
        ..bare.clone()
    };
    let bulk = RestorePrices { per_gib: price(2_500_000), per_1000: price(25_000_000), hours_max: 48 };
    let archive = ClassPrices {
        storage_per_gib_month: price(990_000),
        overhead_bytes: 32 << 10,
        overhead_standard_bytes: 8 << 10,
        restore: BTreeMap::from([(RestoreTier::Bulk, bulk)]),
        ..bare.clone()
    };
    let watched = ClassPrices { monitoring_per_1000: price(2_500_000), ..bare.clone() };
    let class = BTreeMap::from([
        (StorageClass::Standard, bare),
        (StorageClass::IntelligentTiering, watched),
        (StorageClass::StandardIa, infrequent),
        (StorageClass::DeepArchive, archive),
    ]);
    let list = PriceList {
        as_of: "2025-06-01".parse().unwrap(),
        source: "https://aws.amazon.com/s3/pricing/".to_owned(),
        prices: vec![RegionPrices { regions: vec!["us-east-1".to_owned(), "us-west-2".to_owned()], class }],
    };
    list.check().unwrap();
    list.of_region(Some("us-east-1")).unwrap()
}

#[test]
fn every_figure_says_what_it_is_made_of() {
    let prices = prices();
    let bytes = 882_186_310_451;
    let stored = |class, sizes: &[u64]| {
        let mut stored = Stored::default();
        sizes.iter().for_each(|bytes| prices.add(class, *bytes, &mut stored));
        prices.stored(class, stored).explained()
    };
    assert_snapshot!(stored(StorageClass::Standard, &[bytes]), @"$18.90: 821.6 GiB × 0.023 $/GiB-month Standard");
    // Small objects cost as much as ones of 128 KiB.
    assert_snapshot!(stored(StorageClass::StandardIa, &[1; 8]), @"under $0.01: 1.0 MiB × 0.0125 $/GiB-month Standard-IA");
    assert_snapshot!(stored(StorageClass::DeepArchive, &[1 << 40, 1 << 40]), @"$2.03: 2.0 TiB × 0.00099 $/GiB-month Glacier Deep Archive + 16.0 KiB × 0.023 $/GiB-month Standard for names and metadata");
    assert_snapshot!(stored(StorageClass::IntelligentTiering, &[1 << 40]), @"$23.55: 1.0 TiB × 0.023 $/GiB-month Intelligent-Tiering + 1 object × 0.0025 $/1,000 objects and month Intelligent-Tiering monitoring");
    assert_snapshot!(prices.requests(StorageClass::Standard, Request::Put, 1_234_567).explained(), @"$6.17: 1,234,567 PUT × 0.005 $/1,000 Standard");
    assert_snapshot!(prices.requests(StorageClass::Standard, Request::Get, 1).explained(), @"under $0.01: 1 GET × 0.0004 $/1,000 Standard");
    assert_snapshot!(prices.retrieval(StorageClass::StandardIa, 5 << 30).explained(), @"$0.05: 5.0 GiB × 0.01 $/GiB Standard-IA retrieval");
    assert_eq!(prices.retrieval(StorageClass::Standard, 5 << 30), Amount::default());
    let restore = prices.restore(StorageClass::DeepArchive, RestoreTier::Bulk, 2_000, 1 << 40).unwrap();
    assert_snapshot!(restore.explained(), @"$2.61: 1.0 TiB × 0.0025 $/GiB Glacier Deep Archive bulk restore + 2,000 requests × 0.025 $/1,000 Glacier Deep Archive bulk restore");
    assert_eq!(prices.restore(StorageClass::Standard, RestoreTier::Bulk, 1, 1), None);
    assert_eq!(prices.restore(StorageClass::DeepArchive, RestoreTier::Expedited, 1, 1), None);
    // A class that the list lacks costs nothing that is known.
    assert_eq!(prices.stored_bytes(StorageClass::Glacier, 1 << 40), Amount::default());
}

#[test]
fn sums_are_exact() {
    // One GET is 400 nano-dollars, and a byte of Standard less than one: rounded once, in the end.
    let prices = prices();
    let one = prices.requests(StorageClass::Standard, Request::Get, 1).dollars;
    assert_eq!(one, price(400));
    assert_eq!((0..1_000_000).map(|_| one).sum::<Dollars>(), price(400_000_000));
    assert_eq!(prices.stored_bytes(StorageClass::Standard, 23).dollars, price(0));
    assert_eq!(prices.stored_bytes(StorageClass::Standard, 24).dollars, price(1));
    assert_eq!(prices.stored_bytes(StorageClass::Standard, u64::MAX).dollars, price(395_136_991_232_000_000));
    assert_eq!(Dollars::whole(i64::MAX).times(u64::MAX, 1), price(i64::MAX));
    let sum: Amount = [1, 2].map(|n| prices.requests(StorageClass::Standard, Request::Put, n)).into_iter().sum();
    assert_eq!((sum.dollars, sum.parts.len()), (price(15_000), 2));
}

#[test]
fn amounts_are_written_for_people_and_for_programs() {
    let texts = [0, 1, -1, 9_999_999, 10_000_000, 14_999_999, 15_000_000, -520_000_000, 1_234_567_890_000_000];
    assert_eq!(
        texts.map(|nanos| price(nanos).to_string()),
        ["$0", "under $0.01", "minus under $0.01", "under $0.01", "$0.01", "$0.01", "$0.02", "-$0.52", "$1,234,567.89"]
    );
    assert_eq!(
        [23_000_000, 990_000, 10_000_000_000, 0].map(|nanos| price(nanos).rate()),
        ["0.023", "0.00099", "10", "0"]
    );
    let json = serde_json::to_string(&[price(990_000), price(-520_000_000), price(1)]).unwrap();
    assert_eq!(json, "[0.00099,-0.52,1e-9]");
    assert_eq!(serde_json::from_str::<Vec<Dollars>>(&json).unwrap(), [price(990_000), price(-520_000_000), price(1)]);
    assert!(serde_json::from_str::<Dollars>("1e9").is_err());
    assert_eq!("$12.5".parse(), Ok(price(12_500_000_000)));
    for bad in ["", "-1", "five", "nan", "1e9"] {
        assert!(bad.parse::<Dollars>().is_err(), "{bad}");
    }
}

#[test]
fn a_region_that_the_list_lacks_has_the_first_ones_prices() {
    let one = prices();
    let list = PriceList {
        as_of: one.as_of,
        source: one.source.clone(),
        prices: vec![RegionPrices { regions: vec!["us-east-1".to_owned()], class: one.classes.clone() }],
    };
    let text = |region| list.of_region(region).unwrap().to_string();
    assert_eq!(text(Some("us-east-1")), "S3 in us-east-1, 2025-06-01");
    assert_eq!(text(Some("mars-1")), "S3 in us-east-1, 2025-06-01 (as if there: the list does not have mars-1)");
    assert_eq!(text(None), "S3 in us-east-1, 2025-06-01 (as if there: the lake is a folder)");
    let none = PriceList { prices: Vec::new(), ..list.clone() };
    assert_eq!(none.of_region(None), None);
    assert!(none.check().is_err());
    let mut paid_to_store = list.clone();
    paid_to_store.prices[0].class.get_mut(&StorageClass::Standard).unwrap().put_per_1000 = price(-1);
    assert_eq!(paid_to_store.check().unwrap_err(), "us-east-1 has a price below 0 for STANDARD");
    let mut without = list;
    without.prices[0].class.remove(&StorageClass::Standard);
    assert_eq!(without.check().unwrap_err(), "us-east-1 has no class STANDARD");
}

#[test]
fn classes_are_known_by_the_words_of_the_api() {
    for class in StorageClass::ALL {
        assert_eq!(class.word().parse(), Ok(class));
        assert_eq!(serde_json::to_value(class).unwrap(), class.word());
    }
    assert!("SNOW".parse::<StorageClass>().is_err());
}
