//! Users who may log in, and the proof of their secret key.

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

/// The users: access keys, secret keys, and the store as each of them may see it. Called by several connections
/// at once.
pub trait Accounts: Send + Sync + 'static {
    /// Returns the secret key of an access key, or `None` if there is no such user. The result must never be
    /// sent or logged.
    fn secret_key(&self, access_key: &str) -> Option<String>;

    /// Returns the store as the user with this access key may see it, or `None` if there is no such user any
    /// more. Called before each statement, so a user who is removed loses access at once.
    fn source(&self, access_key: &str) -> Option<Arc<dyn StoreSource>>;

    /// Records a login that failed: the access key that the client sent, its address, and the SQLSTATE of the
    /// error. Called once for each login that pgwire refuses, before the client receives the error; messages
    /// that break the protocol are not recorded.
    fn denied(&self, access_key: &str, address: SocketAddr, code: &str);
}

/// The rounds of PBKDF2 for a login, as in PostgreSQL's default.
pub const ITERATIONS: usize = 4096;

/// Salted and hashed secret keys, as SCRAM (RFC 5802) needs them. One for each login.
pub struct Salted {
    accounts: Arc<dyn Accounts>,
    /// The access key whose password pgwire has read.
    asked: Mutex<Option<String>>,
}

impl Salted {
    /// Makes the source of passwords for one login; must not be shared by connections, since it keeps the
    /// access key.
    pub fn new(accounts: Arc<dyn Accounts>) -> Self {
        Self { accounts, asked: Mutex::default() }
    }

    /// Returns the access key whose secret key the login proves, or `None` before the client has sent its name.
    /// Only after a successful login does the access key identify the client.
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
        // The same salt for each attempt, whether the user exists or not: the salt must not reveal which users
        // exist.
        let salt = Sha256::digest(format!("siltstone scram {access_key}"))[..16].to_vec();
        *self.asked.lock() = Some(access_key.to_owned());
        let found = self.accounts.secret_key(access_key);
        // A user who does not exist gets a random password, so that the login fails at the same step and after
        // the same work.
        let secret_key = found.unwrap_or_else(pgwire::api::auth::sasl::scram::random_nonce);
        let hashed = gen_salted_password(&secret_key, &salt, ITERATIONS);
        Ok(Password::new(Some(salt), hashed))
    }
}
