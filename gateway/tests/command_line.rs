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
fn every_setting_is_explained_with_its_variable() {
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
    ] {
        let variable = format!("SILTSTONE_{}", setting[2..].replace('-', "_").to_uppercase());
        assert!(told.contains(setting) && told.contains(&variable), "{setting}: {told}");
    }
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
    assert!(said(&told).contains("cut_second"), "{}", said(&told));
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
