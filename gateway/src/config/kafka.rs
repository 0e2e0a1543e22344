//! The section "Kafka security": encryption and authentication of the connections to brokers.

use std::path::PathBuf;

use anyhow::bail;
use kafka::{ClientCertificate, ConnectionSecurity, SaslMechanism, SaslSettings, TlsSettings};

use super::secrets::secret_from;
use super::units::SettingArg as _;
use crate::secret::Secret;

/// Encryption and authentication of the connections to brokers.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Kafka security")]
pub struct KafkaSecuritySettings {
    /// Encrypt connections to brokers. The default is true if a certificate or an authority is given, false
    /// otherwise.
    #[arg(id = "kafka.tls", long = "kafka-tls", env = "SILTSTONE_KAFKA_TLS", switch())]
    tls: Option<bool>,
    /// A PEM file with the authorities that sign the certificates of brokers. The default is the authorities of
    /// the system.
    #[arg(
        id = "kafka.ca_file",
        long = "kafka-ca-file",
        env = "SILTSTONE_KAFKA_CA_FILE",
        value_name = "FILE"
    )]
    ca_file: Option<PathBuf>,
    /// A PEM file with the certificate that this node presents to brokers. Needs `kafka.key_file`.
    #[arg(
        id = "kafka.certificate_file",
        long = "kafka-certificate-file",
        env = "SILTSTONE_KAFKA_CERTIFICATE_FILE",
        value_name = "FILE"
    )]
    certificate_file: Option<PathBuf>,
    /// A PEM file with the private key of that certificate. Needs `kafka.certificate_file`.
    #[arg(
        id = "kafka.key_file",
        long = "kafka-key-file",
        env = "SILTSTONE_KAFKA_KEY_FILE",
        value_name = "FILE"
    )]
    key_file: Option<PathBuf>,
    /// Refuse a broker whose certificate does not name its host.
    #[arg(
        id = "kafka.checks_host",
        long = "kafka-checks-host",
        env = "SILTSTONE_KAFKA_CHECKS_HOST",
        default_value = "true",
        switch()
    )]
    checks_host: bool,
    /// The SASL mechanism that authenticates this node: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Without
    /// this setting, connections are not authenticated. `PLAIN` without TLS sends the password readable.
    #[arg(
        id = "kafka.sasl_mechanism",
        long = "kafka-sasl-mechanism",
        env = "SILTSTONE_KAFKA_SASL_MECHANISM",
        value_name = "MECHANISM"
    )]
    sasl_mechanism: Option<SaslMechanism>,
    /// The user name for SASL.
    #[arg(
        id = "kafka.user",
        long = "kafka-user",
        env = "SILTSTONE_KAFKA_USER",
        value_name = "NAME"
    )]
    user: Option<String>,
    /// The password for SASL. `kafka.password_file` keeps it out of the list of processes.
    #[arg(
        id = "kafka.password",
        long = "kafka-password",
        env = "SILTSTONE_KAFKA_PASSWORD",
        value_name = "SECRET",
        hide_env_values = true
    )]
    password: Option<Secret>,
    /// A file with the password for SASL.
    #[arg(
        id = "kafka.password_file",
        long = "kafka-password-file",
        env = "SILTSTONE_KAFKA_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub password_file: Option<PathBuf>,
}

impl KafkaSecuritySettings {
    /// Returns how connections are secured. Fails when one of two settings that need each other is missing, or
    /// the password's file cannot be read.
    pub fn connection(&self) -> anyhow::Result<ConnectionSecurity> {
        let client = match (&self.certificate_file, &self.key_file) {
            (Some(certificate_file), Some(key_file)) => Some(ClientCertificate {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
            }),
            (None, None) => None,
            _ => bail!("kafka.certificate_file and kafka.key_file need each other"),
        };
        let wants_tls = self.tls.unwrap_or(self.ca_file.is_some() || client.is_some());
        let tls = wants_tls.then(|| TlsSettings {
            ca_file: self.ca_file.clone(),
            client,
            checks_host: self.checks_host,
        });
        let password =
            secret_from(self.password.as_ref(), self.password_file.as_ref(), "kafka.password")?;
        let sasl = match self.sasl_mechanism {
            Some(mechanism) => Some(SaslSettings {
                mechanism,
                user: self.user.clone().unwrap_or_default(),
                password: password.map(|p| p.expose().to_owned()).unwrap_or_default(),
            }),
            None if self.user.is_some() || password.is_some() => {
                bail!("kafka.user and kafka.password need kafka.sasl_mechanism")
            }
            None => None,
        };
        Ok(ConnectionSecurity { tls, sasl })
    }
}
