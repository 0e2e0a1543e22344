use std::collections::BTreeSet;
use std::path::Path;

use anyhow::bail;

use super::page::page;
use super::sources::{defaults, keys};
use super::*;

/// A command line as the binary has it.
#[derive(Parser, Debug)]
#[command(name = "siltstone")]
struct TestCli {
    #[command(subcommand)]
    command: TestCommand,
}

#[derive(clap::Subcommand, Debug)]
enum TestCommand {
    Server(Box<ServerArgs>),
    Init(Box<InitArgs>),
}

/// A value of each setting that is not its default, in the form of the file.
const EVERY_SETTING: &str = r#"
data = "/elsewhere"
listen = "0.0.0.0:9100"
admin = "127.0.0.1:9101"
postgres = "127.0.0.1:5432"
insecure_listen = true
website_domains = "sites.example.com"
region = "eu-central-1"
domains = "s3.example.com,store"
signature_v2 = "on"
log_format = "json"
access_key = "AKIDROOT"
secret_key_file = "SECRET_KEY_FILE"
connections = 1000
connections_per_address = 100
requests_per_connection = 500
stall_seconds = "2m"
cut_bytes = "8MiB"
cut_entries = 1000
cut_seconds = 5
inline_bytes_max = "4KiB"
log_file_bytes = "32MiB"
bulk_file_bytes = 3_000_000
reserve_bytes = 0
compaction_policy = "manual"
compaction_fan_in = 8
compactions_max = 3
sql_memory_bytes = "256MiB"
sql_spill_bytes = 0
sql_queries = 3
sql_slow_seconds = "500ms"
sql_seconds = "10m"
sql_threads = 4
node_id = 7
read = "high-watermark"
log = "kafka"

[kafka]
bootstrap = "b1:9092, b2:9092"
cluster = "prod"
single_replica = true
tls = true
ca_file = "FOLDER/ca.pem"
certificate_file = "FOLDER/certificate.pem"
key_file = "FOLDER/key.pem"
checks_host = false
sasl_mechanism = "SCRAM-SHA-512"
user = "siltstone"
password = "the-password-of-kafka"
"#;

/// Settings that exclude one of [`EVERY_SETTING`].
const EXCLUDED: [&str; 4] = ["access_key_file", "secret_key", "kafka.password_file", "cold_folder"];

fn parse_server(flags: &[&str]) -> anyhow::Result<(ServerArgs, Sources)> {
    let arguments = ["siltstone", "server"].iter().chain(flags).map(OsString::from);
    let (cli, sources) = parse::<TestCli>(arguments)?;
    match cli.command {
        TestCommand::Server(args) => Ok((*args, sources)),
        TestCommand::Init(_) => bail!("another command"),
    }
}

fn load(flags: &[&str]) -> anyhow::Result<ServerSettings> {
    let (args, sources) = parse_server(flags)?;
    ServerSettings::new(args, &sources)
}

fn refusal(flags: &[&str]) -> String {
    load(flags).err().map(|error| format!("{error:#}")).unwrap_or_default()
}

fn with_file(folder: &Path, text: &str) -> String {
    let path = folder.join("siltstone.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn every_setting_has_a_flag_a_variable_and_a_paragraph_of_help() {
    let schema = schema();
    let mut names = BTreeSet::new();
    for arg in keys(&schema) {
        let id = arg.get_id();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!help.is_empty() && arg.get_long_help().is_none(), "{id}: one paragraph: {help}");
        assert!(arg.get_help_heading().is_some(), "{id} is in a section");
        let variable = arg.get_env().unwrap().to_string_lossy().into_owned();
        assert!(variable.starts_with("SILTSTONE_"), "{id}: {variable}");
        assert!(names.insert(arg.get_long().unwrap().to_owned()) && names.insert(variable), "{id}");
    }
}

#[test]
fn defaults_are_accepted_and_are_those_of_the_engine() {
    let settings = load(&[]).unwrap();
    let cut = settings.storage.cut_policy();
    let engine = compactor::partition::CutPolicy::default();
    assert_eq!((cut.bytes, cut.entries, cut.age), (engine.bytes, engine.entries, engine.age));
    let compaction = compactor::partition::PartitionOptions::default();
    assert_eq!(settings.compaction.policy(), compaction.compaction);
    assert_eq!(settings.compaction.fan_in, compaction.merge_fan_in);
    assert_eq!(settings.compaction.at_once, compaction.merges_max);
    assert_eq!(settings.service.data, Path::new(DATA));
    assert_eq!(settings.sql.options(Path::new("d")).spill, Some(("d/spill".into(), 4 << 30)));
    let tools = StorageSettings::for_tools();
    assert_eq!(tools.reserve_bytes.get(), 0);
    assert_eq!(tools.log_file_bytes, settings.storage.log_file_bytes);
    assert_eq!(defaults::<SqlSettings>().threads, settings.sql.threads);
}

#[test]
fn a_file_sets_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of the root user\n").unwrap();
    for name in ["ca.pem", "certificate.pem", "key.pem"] {
        std::fs::write(folder.path().join(name), "-----BEGIN CERTIFICATE-----").unwrap();
    }
    let text = EVERY_SETTING.replace("SECRET_KEY_FILE", &secret.display().to_string());
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    let config = with_file(folder.path(), &text);
    let (args, sources) = parse_server(&["--config", &config]).unwrap();
    let known: Vec<String> = keys(&schema()).map(|arg| arg.get_id().to_string()).collect();
    let file = file::SettingsFile::parse(&text, &known).unwrap();
    for arg in keys(&schema()) {
        let id = arg.get_id().as_str();
        let default = arg.get_default_values().first().map(|text| text.to_string_lossy());
        let found = file.values.get(id).map(|value| value.text.as_str().into());
        assert!(sources.is_given(id) || EXCLUDED.contains(&id), "{id} is not in the file");
        assert!(found != default || EXCLUDED.contains(&id), "{id} is the default: {default:?}");
    }
    let settings = ServerSettings::new(args, &sources).unwrap();
    assert_eq!(settings.storage.bulk_file_bytes.get(), 3_000_000);
    assert_eq!(settings.sql.slow.get().as_millis(), 500);
    assert_eq!(settings.accounts.root.as_ref().unwrap().1.expose(), "a secret of the root user");
    assert_eq!(settings.secret_files, [config.into(), secret]);
    let LogKind::Kafka(kafka) = &settings.log else { panic!("a log on Kafka") };
    assert_eq!((kafka.node.get(), kafka.connection.cluster()), (7, "prod"));
    let shown = format!("{settings:?}");
    assert!(shown.contains("AKIDROOT") && !shown.contains("a secret of the root user"), "{shown}");
}

#[test]
fn a_cold_folder_is_for_a_log_on_this_machine() {
    let settings = load(&["--cold-folder", "/cold"]).unwrap();
    assert_eq!(settings.storage.cold_folder.as_deref(), Some(Path::new("/cold")));
    let folder = tempfile::tempdir().unwrap();
    let text = EVERY_SETTING.replace("data = ", "cold_folder = \"/cold\"\ndata = ");
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    for name in ["ca.pem", "certificate.pem", "key.pem"] {
        std::fs::write(folder.path().join(name), "-----BEGIN CERTIFICATE-----").unwrap();
    }
    let config = with_file(folder.path(), &text);
    let refused = refusal(&["--config", &config]);
    assert!(refused.contains("is not for a log on Kafka"), "{refused}");
}

#[test]
fn a_flag_is_stronger_than_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = with_file(folder.path(), "cut_entries = 7\ninsecure_listen = true\n");
    let settings = load(&["--config", &config]).unwrap();
    assert!(settings.storage.cut_entries == 7 && settings.service.insecure_listen);
    let settings =
        load(&["--config", &config, "--cut-entries", "8", "--insecure-listen=false"]).unwrap();
    assert!(settings.storage.cut_entries == 8 && !settings.service.insecure_listen);
}

#[test]
fn a_wrong_value_is_refused_with_its_setting_source_and_bounds() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, file, wanted) in [
        (
            "--cut-seconds=0",
            "",
            "cut_seconds (--cut-seconds) is \"0\": expected a time such as 60s, at least 1s and at most 365d",
        ),
        (
            "",
            "\nsql_threads = 0",
            "sql_threads (line 2 of FILE) is \"0\": expected a number, at least 1 and at most 1024",
        ),
        (
            "--log-file-bytes=1MiB",
            "",
            "log_file_bytes (--log-file-bytes) is \"1MiB\": expected a size such as 64MiB, at least 16MiB",
        ),
        (
            "",
            "log_file_bytes = 16777217",
            "log_file_bytes (line 1 of FILE) is 16777217B: expected a multiple of 4096B",
        ),
        ("--log-format=xml", "", "log_format (--log-format) is \"xml\": expected text or json"),
        (
            "--listen=9000",
            "",
            "listen (--listen) is \"9000\": invalid socket address syntax; expected ADDRESS:PORT",
        ),
        (
            "",
            "insecure_listen = \"yes\"",
            "insecure_listen (line 1 of FILE) is \"yes\": expected true or false",
        ),
        (
            "",
            "listen = \"0.0.0.0:1\"",
            "listen (line 1 of FILE) is 0.0.0.0:1, which is not loopback",
        ),
        ("--node-id=1", "", "node_id (--node-id) is given without --log kafka"),
        (
            "",
            "cut_second = 1",
            "in FILE: line 1: unknown key cut_second; the nearest known key is cut_seconds",
        ),
        ("", "users = 1", "in FILE: line 1: invalid type"),
    ] {
        let config = with_file(folder.path(), file);
        let flags: Vec<&str> = flags.split_whitespace().chain(["--config", &config]).collect();
        let found = refusal(&flags).replace(&config, "FILE");
        assert!(found.starts_with(wanted), "{found}\n{wanted}");
    }
}

#[test]
fn init_reads_its_settings_from_a_file_of_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let text = "cut_entries = 7\n[kafka]\ncluster = \"prod\"\nbootstrap = \"b:9092\"\n";
    let config = with_file(folder.path(), text);
    let init = |flags: &[&str]| {
        let arguments = ["siltstone", "init", "--config", &config];
        let arguments = arguments.iter().chain(flags).map(OsString::from);
        let (cli, _) = parse::<TestCli>(arguments)?;
        let TestCommand::Init(args) = cli.command else { bail!("another command") };
        args.settings()
    };
    let (kafka, partitions) = init(&["--partitions", "8"]).unwrap();
    assert_eq!((kafka.connection.cluster(), partitions), ("prod", 8));
    assert!(init(&["--log", "embedded"]).is_err() && init(&["--partitions", "0"]).is_err());
}

#[test]
fn settings_page_is_made_of_the_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/settings.md");
    let page = page(&schema());
    if std::env::var_os("SILTSTONE_WRITE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert!(
        found == page,
        "docs/operations/settings.md differs from the settings: write it with SILTSTONE_WRITE=1 cargo test --workspace settings_page"
    );
}
