//! Lifecycle rules of a bucket: ours are put among those of others, which stay as they are.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleAndOperator, LifecycleRuleFilter,
        Tag, Transition, TransitionDefaultMinimumObjectSize, TransitionStorageClass,
    },
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use plan::tier::{BYTES_MIN, BucketRule, TAG};

use super::{classes::Classes, requests::count};
use crate::{
    Error, Failure, Operation, Result,
    error::{from_failure, sdk},
};

const SERVICE: &str = "S3";

/// Rules that a bucket may have.
const RULES_MAX: usize = 1_000;

/// The rules of a bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lifecycle {
    rules: Vec<LifecycleRule>,
    default_minimum: Option<TransitionDefaultMinimumObjectSize>,
}

impl Lifecycle {
    /// The same with these rules in place of those whose ids begin so; `None` when that changes nothing.
    pub fn with(&self, id_prefix: &str, ours: &[BucketRule]) -> Result<Option<Self>> {
        let is_ours = |rule: &&LifecycleRule| rule.id.as_deref().is_some_and(|id| id.starts_with(id_prefix));
        let wanted = ours.iter().map(rule).collect::<Result<Vec<_>>>()?;
        let present: Vec<_> = self.rules.iter().filter(is_ours).cloned().collect();
        if present == wanted {
            return Ok(None);
        }
        let others = self.rules.iter().filter(|rule| !is_ours(rule)).cloned();
        Ok(Some(Self { rules: others.chain(wanted).collect(), default_minimum: self.default_minimum.clone() }))
    }
}

fn rule(rule: &BucketRule) -> Result<LifecycleRule> {
    let not_sent =
        |error| from_failure(Operation::Update, format!("s3://{}/", rule.bucket), sdk::not_sent(SERVICE, error));
    let tag = Tag::builder().key(TAG).value(rule.class.name()).build().map_err(not_sent)?;
    let what = LifecycleRuleAndOperator::builder()
        .prefix(&rule.prefix)
        .tags(tag)
        .object_size_greater_than(i64::try_from(BYTES_MIN).unwrap_or(i64::MAX) - 1)
        .build();
    let transition = Transition::builder()
        .days(rule.days.try_into().unwrap_or(i32::MAX))
        .storage_class(TransitionStorageClass::from(rule.class.name()))
        .build();
    LifecycleRule::builder()
        .id(&rule.id)
        .filter(LifecycleRuleFilter::builder().and(what).build())
        .status(ExpirationStatus::Enabled)
        .transitions(transition)
        .build()
        .map_err(not_sent)
}

impl Classes {
    /// The rules of a bucket. One that we could not write back as it is, is an error.
    pub async fn lifecycle(&self, bucket: &str) -> Result<Lifecycle> {
        count(&self.requests().get);
        let location = format!("s3://{bucket}/");
        let seen = Seen::default();
        let request = self.client().get_bucket_lifecycle_configuration().bucket(bucket);
        let call = request.customize().interceptor(seen.clone()).send();
        match self.try_step(Operation::Inspect, &location, "get lifecycle", call).await? {
            Ok(answer) => {
                if let Some(element) = unknown_element(&seen.text()) {
                    let reason = format!("a lifecycle rule of it has {element:?}, which this program would lose");
                    return Err(Error::Location { location, reason });
                }
                Ok(Lifecycle {
                    rules: answer.rules.unwrap_or_default(),
                    default_minimum: answer.transition_default_minimum_object_size,
                })
            }
            Err(failure) if failure.code.as_deref() == Some("NoSuchLifecycleConfiguration") => Ok(Lifecycle::default()),
            Err(failure) => Err(from_failure(Operation::Inspect, location, failure)),
        }
    }

    /// Gives a bucket these rules and no others, and reads them again: S3 has no condition for it, and another writer may
    /// have been there in between.
    pub async fn set_lifecycle(&self, bucket: &str, lifecycle: &Lifecycle) -> Result<()> {
        let location = format!("s3://{bucket}/");
        if lifecycle.rules.len() > RULES_MAX {
            let reason = format!("it would have more than {RULES_MAX} lifecycle rules");
            return Err(Error::Location { location, reason });
        }
        if lifecycle.rules.is_empty() {
            count(&self.requests().delete);
            let request = self.client().delete_bucket_lifecycle().bucket(bucket);
            self.step(Operation::Update, &location, "delete lifecycle", request.send()).await?;
        } else {
            count(&self.requests().put);
            let not_sent = |error| from_failure(Operation::Update, location.clone(), sdk::not_sent(SERVICE, error));
            let configuration = BucketLifecycleConfiguration::builder()
                .set_rules(Some(lifecycle.rules.clone()))
                .build()
                .map_err(not_sent)?;
            let request = self
                .client()
                .put_bucket_lifecycle_configuration()
                .bucket(bucket)
                .lifecycle_configuration(configuration)
                .set_transition_default_minimum_object_size(lifecycle.default_minimum.clone());
            self.step(Operation::Update, &location, "put lifecycle", request.send()).await?;
        }
        let now = self.lifecycle(bucket).await?;
        if now.rules == lifecycle.rules {
            return Ok(());
        }
        let failure = Failure::new(SERVICE, Some(503), None, "the rules are not those that were written");
        Err(from_failure(Operation::Update, location, failure))
    }
}

/// The text of an answer.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Seen {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Seen {
    fn name(&self) -> &'static str {
        "Seen"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), aws_sdk_s3::error::BoxError> {
        let bytes = context.response().body().bytes().unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(bytes).into_owned();
        Ok(())
    }
}

/// What a rule may be made of, as far as it is read and written again here.
const ELEMENTS: [&str; 27] = [
    "LifecycleConfiguration",
    "Rule",
    "ID",
    "Prefix",
    "Status",
    "Filter",
    "And",
    "Tag",
    "Key",
    "Value",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "Transition",
    "Days",
    "Date",
    "StorageClass",
    "Expiration",
    "ExpiredObjectDeleteMarker",
    "NoncurrentVersionTransition",
    "NoncurrentDays",
    "NewerNoncurrentVersions",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
    "DaysAfterInitiation",
    "GetBucketLifecycleConfigurationOutput",
    "GetBucketLifecycleConfigurationResult",
    "TransitionDefaultMinimumObjectSize",
];

/// The first element of a document that is none of those.
fn unknown_element(xml: &str) -> Option<String> {
    let names = xml.split('<').skip(1).filter(|tag| !tag.starts_with(['/', '?', '!']));
    let mut names = names.filter_map(|tag| tag.split(|c: char| c == '>' || c == '/' || c.is_whitespace()).next());
    names.find(|name| !ELEMENTS.contains(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{AbortIncompleteMultipartUpload, LifecycleExpiration};
    use contract::ColdClass;

    use super::*;

    fn theirs(id: Option<&str>) -> LifecycleRule {
        LifecycleRule::builder()
            .set_id(id.map(str::to_owned))
            .filter(LifecycleRuleFilter::builder().prefix("logs/").build())
            .status(ExpirationStatus::Disabled)
            .expiration(LifecycleExpiration::builder().days(14).build())
            .abort_incomplete_multipart_upload(
                AbortIncompleteMultipartUpload::builder().days_after_initiation(3).build(),
            )
            .build()
            .unwrap()
    }

    fn ours(class: ColdClass, days: u32) -> BucketRule {
        let id = format!("etl-tier/curated.t/raw/{class}");
        BucketRule { bucket: "b".to_owned(), id, prefix: "raw/".to_owned(), class, days }
    }

    const OURS: &str = "etl-tier/curated.t/";

    /// Rules of other teams, of other tables, and without an id stay, in their order.
    #[test]
    fn rules_of_others_stay_as_they_are() {
        let others = vec![theirs(Some("theirs")), theirs(None), theirs(Some("etl-tier/curated.tt/raw/GLACIER"))];
        let minimum = Some(TransitionDefaultMinimumObjectSize::VariesByStorageClass);
        let before = Lifecycle { rules: others.clone(), default_minimum: minimum.clone() };
        let rules = [ours(ColdClass::StandardIa, 30), ours(ColdClass::Glacier, 90)];
        let with = before.with(OURS, &rules).unwrap().unwrap();
        assert_eq!((&with.rules[..3], with.rules.len(), &with.default_minimum), (&others[..], 5, &minimum));
        assert_eq!(with.with(OURS, &rules).unwrap(), None, "nothing changes");
        let later = with.with(OURS, &[ours(ColdClass::Glacier, 120)]).unwrap().unwrap();
        assert_eq!((&later.rules[..3], later.rules.len()), (&others[..], 4));
        assert_eq!(later.rules[3].transitions()[0].days, Some(120));
        assert_eq!(later.with(OURS, &[]).unwrap(), Some(before));
        assert_eq!(Lifecycle::default().with(OURS, &[]).unwrap(), None);
    }

    #[test]
    fn what_would_be_lost_is_seen() {
        let known = "<?xml version=\"1.0\"?><LifecycleConfiguration xmlns=\"x\"><Rule><ID>a</ID><Filter/><Status>Enabled\
                     </Status></Rule></LifecycleConfiguration>";
        assert_eq!(unknown_element(known), None);
        let unknown = known.replace("<Filter/>", "<Filter><Annotation>a</Annotation></Filter>");
        assert_eq!(unknown_element(&unknown).as_deref(), Some("Annotation"));
    }
}
