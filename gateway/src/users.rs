//! Who may ask: users by access key.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use compactor::state::BucketState;
use s3::sigv4::DerivedKey;
use sha2::{Digest, Sha256};

use crate::config::{ServerSettings, User};
use crate::secret::Secret;
use crate::server::identity::write_private;

/// The root user's canonical id. It must not change with the keys: buckets belong to it.
fn root_id() -> String {
    hex::encode(Sha256::digest(b"siltstone root user"))
}

/// Whether a user runs the store, and so may see what it is made of.
pub fn is_operator(user: &User) -> bool {
    user.id == root_id()
}

/// Whether a bucket is a user's. Nobody else lists it, through whichever door.
pub fn owns(user: &User, bucket: &BucketState) -> bool {
    bucket.owner == user.id
}

/// All users.
pub struct Users {
    by_access_key: BTreeMap<String, Arc<User>>,
    by_id: BTreeMap<String, String>,
}

impl Users {
    /// Takes the users of the settings. Without root keys a pair is made once and kept in the data
    /// directory; the flag tells that this was now.
    pub fn load(settings: &ServerSettings) -> anyhow::Result<(Self, bool)> {
        let (root, is_new) = match &settings.root {
            Some(root) => (root.clone(), false),
            None => kept_root(&settings.data)?,
        };
        let mut users = vec![User {
            name: "root".into(),
            id: root_id(),
            display_name: "root".into(),
            email: String::new(),
            access_key: root.0,
            secret_key: root.1,
            derived_key: DerivedKey::default(),
        }];
        users.extend(settings.users.iter().cloned());
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

    /// The user with an access key.
    pub fn with_key(&self, access_key: &str) -> Option<&Arc<User>> {
        self.by_access_key.get(access_key)
    }

    /// The user who has both keys.
    pub fn with_keys(&self, access_key: &str, secret_key: &str) -> Option<&Arc<User>> {
        let user = self.with_key(access_key)?;
        // Digests are compared: how many leading bytes are equal tells nothing about the secrets.
        let is_same = Sha256::digest(user.secret_key.expose()) == Sha256::digest(secret_key);
        is_same.then_some(user)
    }

    /// The display name of a canonical id.
    pub fn display_name<'a>(&'a self, id: &'a str) -> &'a str {
        self.by_id.get(id).map_or(id, String::as_str)
    }
}

/// The root user's keys, if the data directory keeps them.
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

/// The root user's keys, made if there are none yet; the flag tells whether that was now.
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
