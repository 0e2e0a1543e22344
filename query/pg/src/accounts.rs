//! Who may log in, and how that is proved.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pgwire::api::auth::sasl::scram::gen_salted_password;
use pgwire::api::auth::{AuthSource, LoginInfo, Password};
use pgwire::error::PgWireResult;
use sha2::{Digest, Sha256};
use sql::StoreSource;

/// The users: access keys and secret keys.
pub trait Accounts: Send + Sync + 'static {
    /// The secret key of an access key.
    fn secret_key(&self, access_key: &str) -> Option<String>;

    /// The store in the eyes of whoever has an access key.
    fn source(&self, access_key: &str) -> Option<Arc<dyn StoreSource>>;

    /// Takes note of a login that failed: of which access key, from where, with which SQLSTATE.
    fn denied(&self, access_key: &str, address: SocketAddr, code: &str);
}

/// PBKDF2's rounds for a login; PostgreSQL's own default.
pub const ITERATIONS: usize = 4096;

/// Secret keys as SCRAM wants them (RFC 5802): salted and hashed. One for each login.
pub struct Salted {
    accounts: Arc<dyn Accounts>,
    /// Whose secret key was asked for.
    asked: Mutex<Option<String>>,
}

impl Salted {
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        Self { accounts, asked: Mutex::default() }
    }

    /// Whose secret key the login proves to know.
    pub fn asked(&self) -> Option<String> {
        self.asked.lock().clone()
    }
}

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salted")
    }
}

#[async_trait]
impl AuthSource for Salted {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let access_key = login.user().unwrap_or_default();
        // The same for each attempt of a user, whether there is one or not: a salt tells nothing.
        let salt = Sha256::digest(format!("siltstone scram {access_key}"))[..16].to_vec();
        *self.asked.lock() = Some(access_key.to_owned());
        let found = self.accounts.secret_key(access_key);
        // Whoever does not exist has a password that nobody can know.
        let secret_key = found.unwrap_or_else(pgwire::api::auth::sasl::scram::random_nonce);
        let hashed = gen_salted_password(&secret_key, &salt, ITERATIONS);
        Ok(Password::new(Some(salt), hashed))
    }
}
