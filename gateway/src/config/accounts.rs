//! The section "Root user", and the other users of the settings file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use ingest::entry::OWNER_BYTES_MAX;
use s3::sigv4::DerivedKey;
use serde::Deserialize;

use super::secrets::secret_from;
use crate::secret::Secret;

/// The fewest characters of a secret key; a shorter one is refused.
const SECRET_CHARACTERS_MIN: usize = 12;
/// The fewest characters of a secret key without a warning. The keys of AWS have 40.
const SECRET_CHARACTERS: usize = 16;

/// The keys of the root user.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Root user")]
pub struct RootSettings {
    /// The access key of the root user. Without keys, the first start creates a pair and keeps it in the file
    /// `credentials` of the data directory.
    #[arg(long, env = "SILTSTONE_ACCESS_KEY", value_name = "KEY")]
    access_key: Option<String>,
    /// A file with the access key of the root user.
    #[arg(long, env = "SILTSTONE_ACCESS_KEY_FILE", value_name = "FILE")]
    access_key_file: Option<PathBuf>,
    /// The secret key of the root user, at least 12 characters. Everybody on the machine can read a command line:
    /// use the variable, or `--secret-key-file`.
    #[arg(long, env = "SILTSTONE_SECRET_KEY", value_name = "SECRET", hide_env_values = true)]
    secret_key: Option<Secret>,
    /// A file with the secret key of the root user.
    #[arg(long, env = "SILTSTONE_SECRET_KEY_FILE", value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
}

/// A user of the store.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name in log lines and error messages.
    pub name: String,
    /// The canonical id: 64 hex digits.
    pub id: String,
    /// The name that S3 answers show for the owner of buckets and objects.
    pub display_name: String,
    /// The address that grants name; grants are refused for now.
    #[serde(default)]
    pub email: String,
    /// The access key that requests are signed with.
    pub access_key: String,
    /// The secret key that requests are signed with.
    pub secret_key: Secret,
    /// The signing key of the current day.
    #[serde(skip)]
    pub derived_key: DerivedKey,
}

/// The users that the settings name.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// The keys of the root user, if the settings have them.
    pub root: Option<(String, Secret)>,
    /// The users of the settings file.
    pub users: Vec<User>,
}

impl Accounts {
    /// Reads the files of keys and checks all users. Fails when a key is missing, empty or too short, when an id
    /// is malformed, or when two users have the same id.
    pub fn new(root: &RootSettings, users: Vec<User>) -> anyhow::Result<Self> {
        Ok(Self { root: root.keys()?, users: checked(users)? })
    }

    /// Returns the names of users whose secret key is accepted and short enough to be guessed.
    pub fn with_short_secrets(&self) -> Vec<&str> {
        let root = self.root.iter().map(|(_, secret)| ("root", secret));
        let all = root.chain(self.users.iter().map(|user| (user.name.as_str(), &user.secret_key)));
        let short = all.filter(|(_, secret)| secret.expose().chars().count() < SECRET_CHARACTERS);
        short.map(|(name, _)| name).collect()
    }
}

impl RootSettings {
    fn keys(&self) -> anyhow::Result<Option<(String, Secret)>> {
        let access = self.access_key.clone().map(Secret::from);
        let access = secret_from(access.as_ref(), self.access_key_file.as_ref(), "access_key")?;
        let secret =
            secret_from(self.secret_key.as_ref(), self.secret_key_file.as_ref(), "secret_key")?;
        match (access, secret) {
            (Some(access), Some(secret)) if !access.expose().is_empty() => {
                check_secret("root", &secret)?;
                Ok(Some((access.expose().to_owned(), secret)))
            }
            (None, None) => Ok(None),
            _ => bail!("access_key and secret_key need each other, and neither may be empty"),
        }
    }
}

/// Refuses a secret key that is soon guessed: a client of PostgreSQL's protocol can try many in a short time.
fn check_secret(user: &str, secret: &Secret) -> anyhow::Result<()> {
    if secret.expose().chars().count() < SECRET_CHARACTERS_MIN {
        bail!(
            "the secret key of user `{user}` is too short: expected at least {SECRET_CHARACTERS_MIN} characters"
        );
    }
    Ok(())
}

/// Checks the users of the file. Ids are compared as text everywhere, so they get one form: lower case.
fn checked(mut users: Vec<User>) -> anyhow::Result<Vec<User>> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for user in &mut users {
        let is_canonical = user.id.len() == 64 && user.id.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_canonical || user.access_key.is_empty() {
            bail!("user `{}` needs an id of 64 hex digits and both keys", user.name);
        }
        check_secret(&user.name, &user.secret_key)?;
        user.id.make_ascii_lowercase();
        if let Some(other) = names.insert(user.id.clone(), user.name.clone()) {
            bail!("users `{other}` and `{}` have the same id: they would be one user", user.name);
        }
    }
    Ok(users)
}

// Every id is stored as an owner.
const _: () = assert!(64 <= OWNER_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, id: &str, secret: &str) -> User {
        User {
            name: name.into(),
            id: id.repeat(64),
            display_name: name.into(),
            email: String::new(),
            access_key: format!("AKID{name}"),
            secret_key: Secret::from(secret.to_owned()),
            derived_key: DerivedKey::default(),
        }
    }

    const LONG: &str = "sixteen-letters!";

    #[test]
    fn users_are_one_form_and_differ() {
        let users = checked(vec![user("a", "A", LONG), user("b", "b", LONG)]).unwrap();
        assert_eq!(users[0].id, "a".repeat(64));
        for wrong in [
            vec![user("a", "A", LONG), user("b", "a", LONG)],
            vec![user("a", "a", &LONG[..SECRET_CHARACTERS_MIN - 1])],
            vec![user("a", "a", "")],
            vec![user("a", "g", LONG)],
        ] {
            assert!(checked(wrong).is_err());
        }
    }

    #[test]
    fn users_with_short_secrets_are_named() {
        let short = &LONG[..SECRET_CHARACTERS - 1];
        let users = vec![user("long", "a", LONG), user("short", "b", short)];
        let root = Some(("AKIDroot".to_owned(), Secret::from(short.to_owned())));
        assert_eq!(Accounts { root, users }.with_short_secrets(), ["root", "short"]);
    }
}
