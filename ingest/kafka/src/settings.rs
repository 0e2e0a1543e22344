//! The addresses of the brokers, the name of the cluster's log, and the security of connections.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// The settings to reach a cluster's log. Checked as far as that is possible without I/O to brokers.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    bootstrap: Vec<String>,
    cluster: String,
    security: ConnectionSecurity,
}

/// The security of connections; none by default.
#[derive(Clone, Default, Debug)]
pub struct ConnectionSecurity {
    /// Encrypts connections and authenticates the brokers.
    pub tls: Option<TlsSettings>,
    /// Authenticates this client by a password.
    pub sasl: Option<SaslSettings>,
}

/// Settings of TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// PEM file of the authorities against which brokers' certificates are checked; the system's when
    /// none is given.
    pub ca_file: Option<PathBuf>,
    /// Authenticates this client by a certificate.
    pub client: Option<ClientCertificate>,
    /// True when a broker's certificate must name the host that was connected to.
    pub checks_host: bool,
}

/// The certificate of this client.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// PEM file of the certificate.
    pub certificate_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
}

/// A user's password, and the mechanism that proves it. Without TLS, `PLAIN` reveals the password to
/// the network.
#[derive(Clone)]
pub struct SaslSettings {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for SaslSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The mechanism by which a password is proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaslMechanism {
    /// Sends the password itself.
    Plain,
    /// Sends a proof that does not reveal the password.
    ScramSha256,
    /// The same as [`SaslMechanism::ScramSha256`], with longer digests.
    ScramSha512,
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        })
    }
}

impl FromStr for SaslMechanism {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, SettingsError> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.to_string() == name)
            .ok_or_else(|| SettingsError::Mechanism(name.to_owned()))
    }
}

/// An error in the settings, found before any connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// No broker is named.
    #[error("no broker is named: give at least one as host:port")]
    NoServer,
    /// An address is not of the form `host:port`.
    #[error("{0:?} is not a broker's address: expected host:port")]
    Server(String),
    /// The cluster's name has a wrong length or character.
    #[error("{0:?} is not a cluster's name: expected 1 to 64 of a-z, 0-9 and -")]
    Cluster(String),
    /// The mechanism is unknown.
    #[error("{0:?} is not a mechanism: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")]
    Mechanism(String),
    /// The user or the password of a mechanism is empty.
    #[error("{mechanism} needs a {what}")]
    Credential {
        /// The mechanism.
        mechanism: SaslMechanism,
        /// The missing part.
        what: &'static str,
    },
    /// A file cannot be used.
    #[error("cannot use {path} as {what}: {reason}")]
    File {
        /// The purpose of the file.
        what: &'static str,
        /// The file's path.
        path: String,
        /// The defect of the file.
        reason: String,
    },
}

impl KafkaSettings {
    /// Checks settings and the PEM files that they name. Brokers are given as `host:port`; any one that
    /// can be reached names the others. Fails with the first error, before any connection.
    pub fn new(
        bootstrap: Vec<String>,
        cluster: impl Into<String>,
        security: ConnectionSecurity,
    ) -> Result<Self, SettingsError> {
        let cluster = cluster.into();
        if bootstrap.is_empty() {
            return Err(SettingsError::NoServer);
        }
        if let Some(wrong) = bootstrap.iter().find(|server| !is_address(server)) {
            return Err(SettingsError::Server(wrong.clone()));
        }
        let is_letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=64).contains(&cluster.len()) || !cluster.bytes().all(is_letter) {
            return Err(SettingsError::Cluster(cluster));
        }
        security.check()?;
        Ok(Self { bootstrap, cluster, security })
    }

    /// The cluster's name: 1 to 64 of `a-z`, `0-9` and `-`, as [`KafkaSettings::new`] has checked
    /// before.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The name of the topic that is the cluster's log. Follows from the cluster's name only, and must
    /// never change.
    pub fn topic(&self) -> String {
        format!("siltstone-{}", self.cluster)
    }

    /// The configured brokers in their order, as text for messages. Clients learn of all others from
    /// these.
    pub fn servers(&self) -> String {
        self.bootstrap.join(", ")
    }

    /// The settings of every client. The first attempt may ask any broker. Each later one begins at one
    /// broker alone, the next in turn: a broker that was deposed without knowing it would name itself
    /// leader, and must not be asked again by chance.
    ///
    /// Requests time out here well before brokers would reply that they have timed out: only then does
    /// librdkafka drop the connection and ask another broker for the leader.
    pub(crate) fn client(&self, role: &str, attempt: u32) -> ClientConfig {
        let servers = match attempt {
            0 => self.bootstrap.join(","),
            _ => self.bootstrap[attempt as usize % self.bootstrap.len()].clone(),
        };
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("bootstrap.servers", servers)
            .set("client.id", format!("siltstone-{}-{role}-{attempt}", self.cluster))
            .set("allow.auto.create.topics", "false")
            .set("enable.metrics.push", "false")
            .set("log.thread.name", "false")
            // Otherwise a client that loses all brokers starts over at once, repeatedly and without a
            // pause; the replicated log replaces such a client instead.
            .set("metadata.recovery.strategy", "none")
            .set("socket.timeout.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .set("retry.backoff.ms", "20")
            .set("retry.backoff.max.ms", "100");
        self.security.apply(&mut config);
        config
    }
}

/// True for text of the form `host:port`.
fn is_address(server: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',' && byte != b'/';
    server.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && host.bytes().all(is_plain) && port.parse::<u16>().is_ok_and(|n| n > 0)
    })
}

impl ConnectionSecurity {
    /// Checks the files and the credentials that are set.
    fn check(&self) -> Result<(), SettingsError> {
        if let Some(tls) = &self.tls {
            if let Some(path) = &tls.ca_file {
                check_pem("the authorities' certificates", path)?;
            }
            if let Some(client) = &tls.client {
                check_pem("the client's certificate", &client.certificate_file)?;
                check_pem("the client's key", &client.key_file)?;
            }
        }
        if let Some(SaslSettings { mechanism, user, password }) = &self.sasl {
            for (value, what) in [(user, "user"), (password, "password")] {
                if value.is_empty() {
                    return Err(SettingsError::Credential { mechanism: *mechanism, what });
                }
            }
        }
        Ok(())
    }

    /// Writes the security settings into a client's settings.
    fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let checks = if tls.checks_host { "https" } else { "none" };
            config.set("ssl.endpoint.identification.algorithm", checks);
            let path = |path: &Path| path.to_string_lossy().into_owned();
            if let Some(file) = &tls.ca_file {
                config.set("ssl.ca.location", path(file));
            }
            if let Some(client) = &tls.client {
                config.set("ssl.certificate.location", path(&client.certificate_file));
                config.set("ssl.key.location", path(&client.key_file));
            }
        }
        if let Some(SaslSettings { mechanism, user, password }) = &self.sasl {
            config.set("sasl.mechanism", mechanism.to_string());
            config.set("sasl.username", user).set("sasl.password", password);
        }
    }
}

/// Checks that a file can be read and is a PEM file. librdkafka would report the same late, with
/// OpenSSL's texts.
fn check_pem(what: &'static str, path: &Path) -> Result<(), SettingsError> {
    let unusable =
        |reason: String| SettingsError::File { what, path: path.display().to_string(), reason };
    let text = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let begin = b"-----BEGIN ";
    if !text.windows(begin.len()).any(|window| window == begin) {
        return Err(unusable("it is not a PEM file".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
