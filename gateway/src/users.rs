//! The users of the server, and the decisions about a user's access.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use anyhow::bail;
use compactor::state::BucketState;
use iam::{Action, BucketResource, RequestContext, Resource, UserPrincipal, authorize};
use s3::sigv4::DerivedKey;
use sha2::{Digest, Sha256};

use crate::config::{ServerSettings, User};
use crate::secret::Secret;
use crate::server::identity::write_private;

/// The canonical id of the root user. Must never change, also when the keys do, because buckets belong to the id.
pub static ROOT_ID: LazyLock<String> =
    LazyLock::new(|| hex::encode(Sha256::digest(b"siltstone root user")));

/// The user of requests without a signature: has no id, no keys and no buckets, and [`principal`] makes
/// [`iam::Principal::Anonymous`] of it. Never a user of the
/// settings, whose ids have 64 digits.
pub fn anonymous() -> &'static Arc<User> {
    static ANONYMOUS: LazyLock<Arc<User>> = LazyLock::new(|| {
        Arc::new(User {
            name: "anonymous".into(),
            id: String::new(),
            display_name: "anonymous".into(),
            email: String::new(),
            access_key: String::new(),
            secret_key: Secret::from(String::new()),
            derived_key: DerivedKey::default(),
        })
    });
    &ANONYMOUS
}

/// Returns true for the user [`anonymous`] alone.
pub fn is_anonymous(user: &User) -> bool {
    user.id.is_empty()
}

/// Makes the principal of a decision from a user. Must be called only after the user's signature or secret key was
/// verified, or for the user [`anonymous`].
pub fn principal(user: &User) -> iam::Principal<'_> {
    if is_anonymous(user) {
        return iam::Principal::Anonymous;
    }
    let is_operator = user.id == *ROOT_ID;
    iam::Principal::User(UserPrincipal { name: &user.name, id: &user.id, is_operator })
}

/// Returns true if a user may perform an action on an existing bucket, without conditions of a request such as an
/// expected owner.
pub fn may(user: &User, action: Action, bucket: &BucketState) -> bool {
    let resource = BucketResource { name: bucket.name.as_str(), owner: Some(&bucket.owner) };
    let context = RequestContext::default();
    authorize(&principal(user), action, &Resource::Bucket(resource), &context).is_allowed()
}

/// Returns true if a user may read files, settings and errors of the store itself, which only operators may.
pub fn may_inspect_store(user: &User) -> bool {
    let context = RequestContext::default();
    authorize(&principal(user), Action::InspectStore, &Resource::Service, &context).is_allowed()
}

/// True when a bucket belongs to a user. No other user may list it, by S3 or SQL.
pub fn owns(user: &User, bucket: &BucketState) -> bool {
    bucket.owner == user.id
}

/// All users, by access key and by id.
pub struct Users {
    by_access_key: BTreeMap<String, Arc<User>>,
    by_id: BTreeMap<String, String>,
}

impl Users {
    /// Loads the users of the settings and the root user. Without root keys in the settings the first call makes a pair
    /// and stores it durably in the data directory; the flag is true for that call. Fails if two users have the same id
    /// or access key, and if the file of keys cannot be read or written.
    pub fn load(settings: &ServerSettings) -> anyhow::Result<(Self, bool)> {
        let (root, is_new) = match &settings.accounts.root {
            Some(root) => (root.clone(), false),
            None => kept_root(&settings.service.data)?,
        };
        let mut users = vec![User {
            name: "root".into(),
            id: ROOT_ID.clone(),
            display_name: "root".into(),
            email: String::new(),
            access_key: root.0,
            secret_key: root.1,
            derived_key: DerivedKey::default(),
        }];
        users.extend(settings.accounts.users.iter().cloned());
        let mut by_access_key = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        for user in users {
            if by_id.insert(user.id.clone(), user.display_name.clone()).is_some() {
                bail!("two users have the id {}", user.id);
            }
            if let Some(other) = by_access_key.insert(user.access_key.clone(), Arc::new(user)) {
                bail!("two users have the access key {}", other.access_key);
            }
        }
        Ok((Self { by_access_key, by_id }, is_new))
    }

    /// The user with an access key, which proves nothing before a signature is verified.
    pub fn with_key(&self, access_key: &str) -> Option<&Arc<User>> {
        self.by_access_key.get(access_key)
    }

    /// The user who has both keys. The time that the comparison takes is independent of how much of the secret is
    /// right.
    pub fn with_keys(&self, access_key: &str, secret_key: &str) -> Option<&Arc<User>> {
        let user = self.with_key(access_key)?;
        // Digests are compared, because the time of their comparison reveals nothing about the secrets.
        let is_same = Sha256::digest(user.secret_key.expose()) == Sha256::digest(secret_key);
        is_same.then_some(user)
    }

    /// The display name of the user with a canonical id; the id itself for a user who is no longer in the settings.
    pub fn display_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.by_id.get(id).map_or(id, String::as_str)
    }
}

/// Reads the root user's keys from a data directory; `None` if there is no file of keys. Fails if the file cannot
/// be read or is malformed. Also called by commands on the same machine.
pub fn kept_keys(data: &Path) -> anyhow::Result<Option<(String, Secret)>> {
    let path = data.join("credentials");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().split_once(' ') {
            Some((access, secret)) => Ok(Some((access.into(), Secret::from(secret.to_owned())))),
            None => bail!("{} is not an access key and a secret key", path.display()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    }
}

/// Reads the root user's keys from a data directory, and makes them before if there are none. The flag is true if
/// they were made by this call; they are durable then.
fn kept_root(data: &Path) -> anyhow::Result<((String, Secret), bool)> {
    if let Some(keys) = kept_keys(data)? {
        return Ok((keys, false));
    }
    let mut bytes = [0; 30];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness: {e}"))?;
    let access = format!("SILT{}", hex::encode_upper(&bytes[..8]));
    let secret = hex::encode(&bytes[8..]);
    write_private(&data.join("credentials"), format!("{access} {secret}\n").as_bytes())?;
    Ok(((access, Secret::from(secret)), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request without a signature must never pass for one of a user, whatever it asks for.
    #[test]
    fn the_anonymous_user_is_the_anonymous_principal() {
        let anonymous = anonymous();
        assert_eq!(principal(anonymous), iam::Principal::Anonymous);
        assert!(!may_inspect_store(anonymous));
        let bucket = BucketResource { name: "photos", owner: Some("") };
        let resource = Resource::Object { bucket, key: "key" };
        let context = RequestContext::default();
        for action in [Action::GetObject, Action::PutObject] {
            let decision = authorize(&principal(anonymous), action, &resource, &context);
            assert!(!decision.is_allowed());
        }
    }
}
