//! The binary as a person meets it: what it prints, what it refuses, how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test starts processes and reads what they say"
)]

use std::process::{Command, Output};

fn siltstone(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_siltstone")).args(arguments).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn the_version_is_told() {
    let told = siltstone(&["version"]);
    assert!(told.status.success());
    assert_eq!(said(&told), format!("siltstone {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_setting_is_explained_with_its_variable_in_a_section() {
    let told = said(&siltstone(&["server", "--help"]));
    for setting in [
        "--data",
        "--listen",
        "--admin",
        "--config",
        "--connections",
        "--connections-per-address",
        "--stall-seconds",
        "--cut-seconds",
        "--sql-seconds",
        "--kafka-ca-file",
    ] {
        let variable = format!("SILTSTONE_{}", setting[2..].replace('-', "_").to_uppercase());
        assert!(told.contains(setting) && told.contains(&variable), "{setting}: {told}");
    }
    for section in ["Server:", "Connections:", "Storage:", "SQL:", "Log:", "Kafka security:"] {
        assert!(told.contains(section), "{section}: {told}");
    }
    assert!(told.contains("[default: 60s]") && told.contains("At least 1s"), "{told}");
    assert!(told.contains("high-watermark"), "values of a choice: {told}");
}

/// Runs `siltstone server` with one variable and expects that it refuses to start.
fn refused_with(variable: &str, value: &str, flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siltstone"));
    command.arg("server").args(flags).env_clear().env(variable, value);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn a_wrong_variable_is_refused_with_its_name_and_bounds() {
    let told = refused_with("SILTSTONE_CUT_SECONDS", "0", &[]);
    let wanted = "siltstone: cut_seconds (SILTSTONE_CUT_SECONDS) is \"0\": expected a time such as 60s, at least 1s";
    assert!(told.starts_with(wanted), "{told}");
    let told = refused_with("SILTSTONE_INLINE_BYTES_MAX", "2MiB", &[]);
    assert!(told.contains("(SILTSTONE_INLINE_BYTES_MAX)") && told.contains("1MiB"), "{told}");
}

#[test]
fn a_variable_is_weaker_than_a_flag_and_stronger_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("siltstone.toml");
    std::fs::write(&config, "region = \"of-the-file\"\ncut_seconds = 0\nsql_threads = 0\n")
        .unwrap();
    let config = config.to_str().unwrap();
    // Each time the strongest wrong value is the one that is refused.
    let told = refused_with("SILTSTONE_CUT_SECONDS", "5", &["--config", config]);
    assert!(
        told.contains("sql_threads (line 3 of"),
        "the file is weaker than the variable: {told}"
    );
    let told =
        refused_with("SILTSTONE_SQL_THREADS", "9999", &["--config", config, "--cut-seconds", "5"]);
    assert!(told.contains("sql_threads (SILTSTONE_SQL_THREADS) is \"9999\""), "{told}");
    let told =
        refused_with("SILTSTONE_CONFIG", config, &["--cut-seconds", "5", "--sql-threads", "8888"]);
    assert!(told.contains("sql_threads (--sql-threads) is \"8888\""), "{told}");
}

#[test]
fn no_message_contains_a_secret() {
    let secret = "sixteen-letters!";
    for (variable, flags) in [
        ("SILTSTONE_SECRET_KEY", &["--secret-key-file", "/nonexistent"][..]),
        ("SILTSTONE_SECRET_KEY", &["--access-key-file", "/nonexistent"]),
        (
            "SILTSTONE_KAFKA_PASSWORD",
            &["--log", "kafka", "--node-id", "1", "--bootstrap", "b:1", "--cluster", "c"],
        ),
        ("SILTSTONE_KAFKA_PASSWORD", &["--cut-seconds", "0"]),
    ] {
        let told = refused_with(variable, secret, flags);
        assert!(!told.contains(secret), "{told}");
    }
    let told = siltstone(&["server", "--secret-key", secret, "--cut-seconds", "0"]);
    assert!(!said(&told).contains(secret), "{}", said(&told));
}

#[test]
fn plain_http_beyond_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let told = siltstone(&[
        "server",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "0.0.0.0:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    assert_eq!(told.status.code(), Some(1));
    assert!(said(&told).contains("--insecure-listen"), "{}", said(&told));
    assert!(!data.exists(), "a refused start leaves nothing behind");
}

#[test]
fn an_unknown_key_in_the_settings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("siltstone.toml");
    std::fs::write(&config, "data = \"data\"\ncut_second = 5\n").unwrap();
    let told = siltstone(&["server", "--config", config.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(1));
    let wanted = "line 2: unknown key cut_second; the nearest known key is cut_seconds";
    assert!(said(&told).contains(wanted), "{}", said(&told));
}

#[test]
fn fsck_of_what_is_no_store_fails_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let told = siltstone(&["fsck", folder.path().to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(1), "{}", said(&told));
    let told = siltstone(&["fsck", folder.path().join("missing").to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(1), "{}", said(&told));
    assert!(!folder.path().join("missing").exists());
}

#[test]
fn a_question_without_a_server_says_so() {
    let question = ["sql", "--admin", "http://127.0.0.1:1", "SELECT 1"];
    let keys = ["--access-key", "a", "--secret-key", "s"];
    let told = siltstone(&[&question[..], &keys].concat());
    assert_eq!(told.status.code(), Some(1));
    assert!(said(&told).contains("127.0.0.1:1"), "{}", said(&told));
    let told = siltstone(&question);
    assert_eq!(told.status.code(), Some(1));
    assert!(said(&told).contains("--secret-key"), "who asks? {}", said(&told));
}
