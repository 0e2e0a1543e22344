//! Settings of a PostgreSQL session: values that clients read, and those that they may not change.

/// The server's version as clients see it; drivers choose their queries by it.
pub const SERVER_VERSION: &str = "16.6 (Siltstone)";

/// Returns the value of a setting, or `None` for one that does not exist. Names are compared without regard to
/// case; the value never changes during a session.
pub fn value(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "transaction isolation level" | "transaction_isolation" | "transaction.isolation.level" => {
            "read committed"
        }
        "default_transaction_isolation" => "read committed",
        "transaction_read_only" | "default_transaction_read_only" => "on",
        "standard_conforming_strings" | "integer_datetimes" => "on",
        "server_version" => SERVER_VERSION,
        "server_version_num" => "160006",
        "server_encoding" | "client_encoding" => "UTF8",
        "search_path" => "public",
        "timezone" | "time zone" => "Etc/UTC",
        "datestyle" => "ISO, YMD",
        "intervalstyle" => "postgres",
        "max_identifier_length" => "63",
        "statement_timeout" | "lock_timeout" | "idle_in_transaction_session_timeout" => "0",
        "bytea_output" => "hex",
        "extra_float_digits" => "1",
        "is_superuser" => "off",
        "default_table_access_method" => "heap",
        _ => return None,
    })
}

/// Returns true if a client must not set `name` to `wanted`, since results would not follow the setting. Other
/// changes are accepted and have no effect.
pub fn is_fixed(name: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_matches(['\'', '"']).to_ascii_lowercase();
    match name.to_ascii_lowercase().as_str() {
        "client_encoding" | "names" => !matches!(wanted.as_str(), "utf8" | "utf-8" | "unicode"),
        "timezone" | "time zone" => {
            !matches!(wanted.as_str(), "utc" | "etc/utc" | "gmt" | "default")
        }
        "standard_conforming_strings" => wanted == "off",
        _ => false,
    }
}
