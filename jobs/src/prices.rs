//! The price list: the one that is built in, or the user's own, and which region of it holds.

use std::path::Path;

use plan::prices::{PriceList, Prices};

use crate::{
    config::Document,
    error::{JobError, Kind, Result},
    job::Job,
    open::is_s3,
};

const BUILT_IN: &str = include_str!("../../prices/aws-s3.toml");

impl Job {
    /// The prices that hold for the lake. A lake that is a folder costs nothing; its figures are those that it would have on S3.
    pub async fn prices(&self) -> Result<Prices> {
        let config = &self.config.prices;
        let list = match &config.file {
            None => parse(Path::new("the built-in price list"), BUILT_IN),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| {
                    JobError::new(
                        Kind::Configuration,
                        format!("failed to read the prices {}: {source}", path.display()),
                    )
                    .with_help(format!("`prices.file` in {} names it", self.config.path.display()))
                })?;
                parse(path, &text)
            }
        }?;
        let region = match &config.region {
            Some(region) => Some(region.as_str()),
            None if is_s3(&self.config.lake.warehouse) => {
                Some(self.lake().await?.storage.region().unwrap_or("us-east-1"))
            }
            None => None,
        };
        list.of_region(region).ok_or_else(|| JobError::new(Kind::Configuration, "the price list is empty"))
    }
}

/// Reads a price list.
fn parse(path: &Path, text: &str) -> Result<PriceList> {
    let list: PriceList = toml::from_str(text).map_err(|error| Document { path, text }.syntax(&error))?;
    list.check().map_err(|what| {
        JobError::new(Kind::Configuration, format!("{}: {what}", path.display()))
            .with_help("prices/aws-s3.toml in the sources of etl is a complete example")
    })?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use plan::prices::{Request, RestoreTier, StorageClass};

    use super::*;

    #[test]
    fn the_built_in_list_is_whole() {
        let list = parse(Path::new("aws-s3.toml"), BUILT_IN).unwrap();
        for region in list.prices.iter().flat_map(|prices| &prices.regions) {
            let prices = list.of_region(Some(region)).unwrap();
            assert_eq!(prices.assumed, None);
            for class in StorageClass::ALL {
                let of = prices.class(class).unwrap_or_else(|| panic!("{region} has no {class}"));
                assert_eq!(of.restore.contains_key(&RestoreTier::Bulk), class.is_archive(), "{region} {class}");
                // Colder classes are cheaper to lie in, and dearer to get into.
                let standard = prices.class(StorageClass::Standard).unwrap();
                assert!(of.storage_per_gib_month <= standard.storage_per_gib_month, "{region} {class}");
                assert!(of.put_per_1000 >= standard.put_per_1000, "{region} {class}");
            }
        }
        let prices = list.of_region(Some("us-west-2")).unwrap();
        assert_snapshot!(prices.stored_bytes(StorageClass::Standard, 100 << 30).explained(), @"$2.30: 100.0 GiB × 0.023 $/GiB-month Standard");
        assert_snapshot!(prices.requests(StorageClass::DeepArchive, Request::Transition, 2_000).explained(), @"$0.10: 2,000 transition × 0.05 $/1,000 Glacier Deep Archive");
    }

    #[test]
    fn mistakes_have_a_place() {
        let mistake = |from: &str, to: &str| {
            let text = BUILT_IN.replacen(from, to, 1);
            assert_ne!(text, BUILT_IN);
            let error = parse(Path::new("p.toml"), &text).unwrap_err();
            assert_eq!(error.kind, Kind::Configuration);
            format!("{}\nhelp: {}", error.message, error.help.unwrap_or_default())
        };
        assert_snapshot!(mistake("put_per_1000 ", "put_pro_1000 "), @"
        p.toml:23:1: unknown field `put_pro_1000`
        help: did you mean `put_per_1000`?
        ");
        assert_snapshot!(mistake("class.STANDARD_IA", "class.STANDART_IA"), @"
        p.toml:35:15: unknown variant `STANDART_IA`, expected one of `STANDARD`, `INTELLIGENT_TIERING`, `STANDARD_IA`, `ONEZONE_IA`, `GLACIER_IR`, `GLACIER`, `DEEP_ARCHIVE`
        help: docs/configuration.md describes every key
        ");
        assert_snapshot!(mistake("= 0.023 ", "= \"cheap\" "), @r#"
        p.toml:28:25: invalid type: string "cheap", expected f64
        help: docs/configuration.md describes every key
        "#);
        assert_snapshot!(mistake("= 0.023 ", "= inf "), @"
        p.toml:28:25: inf is no amount of dollars
        help: docs/configuration.md describes every key
        ");
        assert_snapshot!(mistake("[prices.class.STANDARD]", "[prices.class.REDUCED]"), @"
        p.toml:21:15: unknown variant `REDUCED`, expected one of `STANDARD`, `INTELLIGENT_TIERING`, `STANDARD_IA`, `ONEZONE_IA`, `GLACIER_IR`, `GLACIER`, `DEEP_ARCHIVE`
        help: docs/configuration.md describes every key
        ");
        let regions = "regions = [\"us-east-1\", \"us-east-2\", \"us-west-2\", \"eu-west-1\"]";
        assert_snapshot!(mistake(regions, "regions = []"), @"
        p.toml: [[prices]] number 1 names no region
        help: prices/aws-s3.toml in the sources of etl is a complete example
        ");
    }
}
