//! From configuration to a lake: storage, catalog, and AWS where something lies there.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_types::service_config::ServiceConfigKey;
use lake::{
    Lake, S3Options, Storage, StorageOptions, StoreWrapper,
    catalog::{Catalog, Glue, Sqlite},
};

use crate::{
    config::{CatalogConfig, Config, LakeConfig},
    error::{JobError, Result},
    job::Program,
};

/// Name of the catalog inside the `SQLite` file; PyIceberg must be given the same.
pub const CATALOG_NAME: &str = "etl";

/// The lake of a configuration. AWS is asked for its settings once, and only when something lies there.
pub async fn lake(program: &Program, config: &Config) -> Result<Lake> {
    if let Some(lake) = &program.lake {
        return Ok(lake.clone());
    }
    let is_glue = matches!(config.lake.catalog, CatalogConfig::Glue { .. });
    let mut locations = config.tables.values().flat_map(|table| [&table.source, &table.quarantine]);
    let needs_s3 = is_s3(&config.lake.warehouse) || locations.any(|location| is_s3(location));
    let aws = if is_glue || needs_s3 { Some(aws(program, Some(&config.lake)).await) } else { None };
    let catalog: Arc<dyn Catalog> = match (&config.lake.catalog, &aws) {
        (CatalogConfig::Glue { catalog_id }, Some(aws)) => Arc::new(Glue::new(aws, None, catalog_id.clone())),
        (CatalogConfig::Glue { .. }, None) => return Err(JobError::usage("the Glue catalog needs AWS settings")),
        (CatalogConfig::Sqlite { path }, _) => Arc::new(Sqlite::new(path, CATALOG_NAME)),
    };
    let catalog = match &program.faults {
        Some(faults) => Arc::new(faults.catalog(catalog)),
        None => catalog,
    };
    Ok(Lake { catalog, storage: storage(program, aws.as_ref()), warehouse: config.lake.warehouse.clone() })
}

/// Storage for a few locations without a lake.
pub async fn storage_for(program: &Program, location: &str) -> Storage {
    let aws = if is_s3(location) { Some(aws(program, None).await) } else { None };
    storage(program, aws.as_ref())
}

/// Puts a text there, in place of what was there: a path or an S3 location.
pub async fn replace(program: &Program, target: &str, text: String) -> Result<()> {
    if !is_s3(target) {
        let path = std::path::Path::new(target);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| JobError::file("make the folder of", path, &source))?;
        }
        return std::fs::write(path, text).map_err(|source| JobError::file("write", path, &source));
    }
    Ok(storage_for(program, target).await.replace(target, text.into()).await?)
}

/// Whether it lies on S3.
pub fn is_s3(location: &str) -> bool {
    ["s3://", "s3a://", "s3n://"].iter().any(|scheme| location.starts_with(scheme))
}

fn storage(program: &Program, aws: Option<&SdkConfig>) -> Storage {
    let wrapper = program.faults.clone().map(|faults| Arc::new(faults) as Arc<dyn StoreWrapper>);
    Storage::new(StorageOptions { s3: aws.map(|aws| s3_options(program, aws)), wrapper })
}

/// AWS's own settings, below our options and above `etl.toml`.
async fn aws(program: &Program, config: Option<&LakeConfig>) -> SdkConfig {
    let (globals, environment) = (&program.globals, &program.environment);
    let below = |option: &Option<String>, is_set: bool, file: Option<&String>| {
        option.clone().or_else(|| file.filter(|_| !is_set).cloned())
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = below(&globals.region, environment.has_region, config.and_then(|c| c.region.as_ref())) {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = below(&globals.profile, environment.has_profile, config.and_then(|c| c.profile.as_ref())) {
        loader = loader.profile_name(profile);
    }
    let file = config.and_then(|config| config.endpoint_url.as_ref());
    if let Some(url) = below(&globals.endpoint_url, environment.has_endpoint_url, file) {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

fn s3_options(program: &Program, aws: &SdkConfig) -> S3Options {
    let endpoint = s3_endpoint(aws);
    let is_aws = endpoint.as_deref().is_none_or(|url| url.contains(".amazonaws.com"));
    S3Options {
        region: aws.region().map(ToString::to_string),
        path_style: !is_aws,
        allow_http: endpoint.as_deref().is_some_and(|url| url.starts_with("http://")),
        endpoint,
        credentials: aws.credentials_provider(),
        now: program.system_clock,
    }
}

/// As the AWS SDKs do it: set by us, else for S3 (`AWS_ENDPOINT_URL_S3`, the profile's `services`), else for all.
fn s3_endpoint(aws: &SdkConfig) -> Option<String> {
    let general = aws.endpoint_url().map(str::to_owned);
    if aws.get_origin("endpoint_url").is_client_config() {
        return general;
    }
    let key =
        ServiceConfigKey::builder().service_id("s3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    aws.service_config().and_then(|service| service.load_config(key)).or(general)
}
