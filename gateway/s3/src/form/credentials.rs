//! The signature of a form, which covers its policy.

use subtle::ConstantTimeEq;

use super::fields::FormFields;
use crate::error::{ErrorCode, S3Error};
use crate::sigv2;
use crate::sigv4::{self, CredentialScope, split_credential};
use crate::time::parse_amz;

/// The fields of a signature of version 4, in the order in which AWS misses them.
const VERSION_4: [&str; 4] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature"];
/// The algorithm of a signature of version 4.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The fields of a signature of version 2.
const VERSION_2: [&str; 2] = ["AWSAccessKeyId", "Signature"];

/// The credentials of a form, unproven before [`FormCredentials::verify`] has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormCredentials {
    /// The access key in the form.
    pub access_key: String,
    /// The policy, encoded as it was signed.
    pub policy: String,
    signature: String,
    /// The scope and the time of a signature of version 4; `None` for version 2.
    scope: Option<FormScope>,
}

/// The scope of a form's signature of version 4, and its time.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FormScope {
    /// The date of the signing key.
    date: String,
    region: String,
    /// The time that the form states, which must be of the same date.
    time: String,
}

/// Splits the credential of a form, which must name an access key. Fails with AWS's message.
fn parse_credential(text: &str) -> Result<(&str, CredentialScope<'_>), &'static str> {
    let (access_key, scope) = split_credential(text)?;
    if access_key.is_empty() {
        return Err("a non-empty Access Key (AKID) must be provided in the credential.");
    }
    Ok((access_key, scope))
}

impl FormCredentials {
    /// Reads the credentials of a form; `None` for an anonymous form. Fails with `InvalidArgument` for a signature of which a
    /// field is missing or cannot be read, for one without a policy, and for two signatures.
    pub fn of(fields: &FormFields) -> Result<Option<Self>, S3Error> {
        let has_one = |names: &[&str]| names.iter().any(|name| fields.get(name).is_some());
        match (has_one(&VERSION_4), has_one(&VERSION_2)) {
            (false, false) => Ok(None),
            (true, true) => Err(ErrorCode::InvalidArgument
                .because("Only one auth mechanism allowed; a form has a signature of version 4 or of version 2")),
            (true, false) => Self::of_version_4(fields).map(Some),
            (false, true) => Ok(Some(Self {
                access_key: fields.required(VERSION_2[0])?,
                signature: fields.required(VERSION_2[1])?,
                policy: fields.required("Policy")?,
                scope: None,
            })),
        }
    }

    fn of_version_4(fields: &FormFields) -> Result<Self, S3Error> {
        let [algorithm, credential, date, signature] = {
            let [algorithm, credential, date, signature] =
                VERSION_4.map(|name| fields.required(name));
            [algorithm?, credential?, date?, signature?]
        };
        let wrong = |name: &'static str, value: &str, message: &str| {
            ErrorCode::InvalidArgument
                .because(message)
                .with("ArgumentName", name)
                .with("ArgumentValue", value)
        };
        if algorithm != ALGORITHM {
            let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
            return Err(wrong(VERSION_4[0], &algorithm, message));
        }
        let malformed = |message| wrong(VERSION_4[1], &credential, message);
        let (access_key, scope) = parse_credential(&credential).map_err(malformed)?;
        let access_key = access_key.to_owned();
        let (day, region) = (scope.date.to_owned(), scope.region.to_owned());
        if parse_amz(&date).is_none() {
            let message = "X-Amz-Date must be formated via ISO8601 Long format";
            return Err(wrong(VERSION_4[2], &date, message));
        }
        let policy = fields.required("Policy")?;
        let scope = Some(FormScope { date: day, region, time: date });
        Ok(Self { access_key, policy, signature, scope })
    }

    /// Returns true for a signature of version 2, which is unproven before [`Self::verify`].
    pub fn is_version_2(&self) -> bool {
        self.scope.is_none()
    }

    /// Verifies the signature of the policy, in constant time. Fails with `InvalidArgument` for another region than `region`,
    /// of which `None` takes any, and with `SignatureDoesNotMatch`. The policy may still forbid the form.
    pub fn verify(&self, secret: &str, region: Option<&str>) -> Result<(), S3Error> {
        let policy = self.policy.as_bytes();
        let (wanted, is_of_day) = match &self.scope {
            None => (sigv2::signature(secret, &self.policy), true),
            Some(FormScope { date, region: named, time }) => {
                let scope = CredentialScope { date, region: named };
                if let Some(region) = region.filter(|region| named != region) {
                    let message = format!("the region '{named}' is wrong; expecting '{region}'");
                    return Err(ErrorCode::InvalidArgument
                        .because(message)
                        .with("ArgumentName", VERSION_4[1])
                        .with("Region", region));
                }
                let wanted = hex::encode(sigv4::hmac(&scope.key(secret), policy));
                (wanted, time.starts_with(date.as_str()))
            }
        };
        if is_of_day && bool::from(wanted.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Ok(());
        }
        let bytes: Vec<String> = policy.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(S3Error::from(ErrorCode::SignatureDoesNotMatch)
            .with("AWSAccessKeyId", self.access_key.clone())
            .with("StringToSign", self.policy.clone())
            .with("SignatureProvided", self.signature.clone())
            .with("StringToSignBytes", bytes.join(" ")))
    }
}
