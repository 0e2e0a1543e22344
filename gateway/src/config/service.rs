//! The section "Server": the data directory, the addresses, and how the process presents itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use ingest::record::REGION_BYTES_MAX;
use s3::host::Domains;
use s3::website::host::WebsiteDomains;

use super::sources::Sources;
use super::units::SettingArg as _;

/// The data directory without a setting.
pub const DATA: &str = "./data";

/// The form of log lines.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// A line of text for each event.
    Text,
    /// A JSON object for each event.
    Json,
}

/// The signatures of version 2 that are taken.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureV2 {
    /// In the header and in presigned URLs.
    On,
    /// In presigned URLs alone.
    Presigned,
    /// None.
    Off,
}

/// The region that clients are told where the settings name none.
const DEFAULT_REGION: &str = "us-east-1";

/// The data directory, the addresses, and how the process presents itself.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServiceSettings {
    /// The directory that holds the store. Created at the first start.
    #[arg(long, env = "SILTSTONE_DATA", value_name = "DIRECTORY", default_value = DATA)]
    pub data: PathBuf,
    /// The address that serves S3. Addresses beyond loopback need `--insecure-listen`.
    #[arg(long, env = "SILTSTONE_LISTEN", value_name = "ADDRESS:PORT", default_value_t = loopback(9000))]
    pub listen: SocketAddr,
    /// The address that serves health, metrics, SQL and administration to programs on this machine. Must be
    /// loopback.
    #[arg(long, env = "SILTSTONE_ADMIN", value_name = "ADDRESS:PORT", default_value_t = loopback(9001))]
    pub admin: SocketAddr,
    /// The address that serves SQL in PostgreSQL's protocol, for example `127.0.0.1:5432`. Without this
    /// setting the protocol is not served.
    #[arg(long, env = "SILTSTONE_POSTGRES", value_name = "ADDRESS:PORT")]
    pub postgres: Option<SocketAddr>,
    /// Allow unencrypted connections to S3 and PostgreSQL from other machines. The server has no TLS: use this
    /// setting only behind a TLS proxy or on a network that is trusted.
    #[arg(long, env = "SILTSTONE_INSECURE_LISTEN", default_value = "false", switch())]
    pub insecure_listen: bool,
    /// The only region that clients may sign their requests for, at most 64 bytes. Without this setting any region
    /// is taken, and clients are told `us-east-1`.
    #[arg(long, env = "SILTSTONE_REGION", value_parser = NonEmptyStringValueParser::new())]
    pub region: Option<String>,
    /// Domains below which a host names a bucket, separated by commas: with `s3.example.com` the host
    /// `photos.s3.example.com` is the bucket `photos`. `localhost` is always one of them.
    #[arg(long, env = "SILTSTONE_DOMAINS", value_name = "DOMAIN,...")]
    pub domains: Option<Domains>,
    /// The signatures of version 2 that are taken beside version 4: those of presigned URLs, also those in headers
    /// (`on`), or none (`off`). Version 2 does not cover the body.
    #[arg(long, env = "SILTSTONE_SIGNATURE_V2", value_name = "WHERE", default_value = "presigned")]
    pub signature_v2: SignatureV2,
    /// The domains below which buckets are served as websites, separated by commas: with the default the host
    /// `photos.s3-website.localhost` serves the website of the bucket `photos`. An empty text serves no websites.
    #[arg(
        long,
        env = "SILTSTONE_WEBSITE_DOMAINS",
        value_name = "DOMAINS",
        default_value = "s3-website.localhost"
    )]
    pub website_domains: WebsiteDomains,
    /// The form of log lines on standard error. The variable `SILTSTONE_LOG` selects the events.
    #[arg(long, env = "SILTSTONE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl ServiceSettings {
    /// The region that clients are told. Never empty.
    pub fn told_region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }

    /// Refuses addresses that other machines reach unencrypted, and a region that no record can hold.
    pub fn check(&self, sources: &Sources) -> anyhow::Result<()> {
        let served = [("listen", Some(self.listen)), ("postgres", self.postgres)];
        for (setting, address) in served.into_iter().filter_map(|(id, at)| Some((id, at?))) {
            if !address.ip().is_loopback() && !self.insecure_listen {
                let setting = sources.name(setting);
                bail!(
                    "{setting} is {address}, which is not loopback, and connections are not encrypted: put a TLS proxy in front, or give --insecure-listen"
                );
            }
        }
        if !self.admin.ip().is_loopback() {
            let setting = sources.name("admin");
            bail!(
                "{setting} is {}, but must be a loopback address: only SQL asks for credentials there",
                self.admin
            );
        }
        if let Some(region) = &self.region
            && region.len() > REGION_BYTES_MAX
        {
            let (setting, len) = (sources.name("region"), region.len());
            bail!("{setting} has {len} bytes: expected at most {REGION_BYTES_MAX}");
        }
        Ok(())
    }
}
