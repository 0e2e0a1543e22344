//! The section "Connections": the number of clients, and the patience with slow ones.

use super::units::{SettingArg as _, TimeSpan, YEAR};

/// The number of connections to S3, and the patience with slow clients.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionSettings {
    /// The most connections to S3 at a time. At this limit, a new connection replaces one that is idle or
    /// stalled. The default is half of the file handles that the process may open, less those of other
    /// listeners, and at most 4096; a larger value than this half is refused at the start.
    #[arg(id = "connections", long = "connections", env = "SILTSTONE_CONNECTIONS", value_name = "NUMBER", within(1usize..))]
    pub all: Option<usize>,
    /// The most connections to S3 from one address. The default is three quarters of `connections` for other
    /// machines, and all of them for loopback.
    #[arg(
        id = "connections_per_address",
        long = "connections-per-address",
        env = "SILTSTONE_CONNECTIONS_PER_ADDRESS",
        value_name = "NUMBER",
        within(1usize..)
    )]
    pub per_address: Option<usize>,
    /// The most requests on one connection to S3. The response to the last one says that the connection closes, and the
    /// client opens another. A smaller value spreads long-lived clients over the nodes behind a load balancer.
    #[arg(
        id = "requests_per_connection",
        long = "requests-per-connection",
        env = "SILTSTONE_REQUESTS_PER_CONNECTION",
        value_name = "NUMBER",
        default_value = "10000",
        within(1usize..)
    )]
    pub requests: usize,
    /// Close a connection when the server has waited this long for its client to send or take 64 KiB. Time that
    /// the server needs itself does not count.
    #[arg(
        id = "stall_seconds",
        long = "stall-seconds",
        env = "SILTSTONE_STALL_SECONDS",
        value_name = "TIME",
        default_value = "60s",
        within(TimeSpan::secs(1)..=YEAR)
    )]
    pub stall: TimeSpan,
}
