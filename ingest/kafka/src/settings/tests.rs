use super::*;

fn settings(
    servers: &[&str],
    cluster: &str,
    security: ConnectionSecurity,
) -> Result<KafkaSettings, SettingsError> {
    let servers = servers.iter().map(|server| (*server).to_owned()).collect();
    KafkaSettings::new(servers, cluster, security)
}

#[test]
fn wrong_settings_are_refused_in_words() {
    let sasl = |user: &str, password: &str| {
        let (user, password) = (user.to_owned(), password.to_owned());
        ConnectionSecurity {
            sasl: Some(SaslSettings { mechanism: SaslMechanism::ScramSha256, user, password }),
            tls: None,
        }
    };
    let long = "a".repeat(65);
    let one: &[&str] = &["b:9092"];
    let table: [(&[&str], &str, ConnectionSecurity, &str); 13] = [
        (&[], "c", ConnectionSecurity::default(), "no broker is named"),
        (&["b"], "c", ConnectionSecurity::default(), "\"b\" is not a broker's address"),
        (&["b:9092", ":9092"], "c", ConnectionSecurity::default(), "\":9092\" is not"),
        (&["b:0"], "c", ConnectionSecurity::default(), "\"b:0\" is not"),
        (&["b:99999"], "c", ConnectionSecurity::default(), "is not a broker's address"),
        (&["a:1,b:2"], "c", ConnectionSecurity::default(), "is not a broker's address"),
        (&["PLAINTEXT://b:1"], "c", ConnectionSecurity::default(), "is not a broker's address"),
        (one, "", ConnectionSecurity::default(), "is not a cluster's name"),
        (one, "Prod", ConnectionSecurity::default(), "\"Prod\" is not a cluster's name"),
        (one, "a_b", ConnectionSecurity::default(), "is not a cluster's name"),
        (one, &long, ConnectionSecurity::default(), "is not a cluster's name"),
        (one, "c", sasl("", "p"), "SCRAM-SHA-256 needs a user"),
        (one, "c", sasl("u", ""), "SCRAM-SHA-256 needs a password"),
    ];
    for (servers, cluster, security, words) in table {
        let error = settings(servers, cluster, security).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!("GSSAPI".parse::<SaslMechanism>().is_err());
}

#[test]
fn usual_settings_are_taken() {
    for server in ["b:9092", "10.0.0.1:1", "[::1]:9092", "kafka-0.kafka.svc:65535"] {
        settings(&[server], "prod-1", ConnectionSecurity::default()).unwrap();
    }
    assert_eq!("SCRAM-SHA-512".parse(), Ok(SaslMechanism::ScramSha512));
}

#[test]
fn files_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let tls = |ca: &Path| {
        let tls = TlsSettings { ca_file: Some(ca.to_owned()), client: None, checks_host: true };
        settings(&["b:1"], "c", ConnectionSecurity { tls: Some(tls), sasl: None })
    };
    tls(&file("good.pem", "-----BEGIN CERTIFICATE-----\n")).unwrap();
    let words = tls(&file("bad.pem", "der")).unwrap_err().to_string();
    assert!(words.contains("bad.pem as the authorities' certificates: it is not a PEM"), "{words}");
    let words = tls(&folder.path().join("none.pem")).unwrap_err().to_string();
    assert!(words.contains("none.pem") && words.contains("No such file"), "{words}");
}

#[test]
fn the_password_is_not_shown() {
    let sasl = SaslSettings {
        mechanism: SaslMechanism::Plain,
        user: "u".into(),
        password: "quartz".into(),
    };
    let settings =
        settings(&["b:1"], "c", ConnectionSecurity { sasl: Some(sasl), tls: None }).unwrap();
    let shown = format!("{settings:?} {:?}", settings.client("data", 0));
    assert!(shown.contains("\"u\"") && !shown.contains("quartz"), "{shown}");
}

#[test]
fn each_attempt_begins_elsewhere() {
    let settings = settings(&["a:1", "b:1", "c:1"], "c", ConnectionSecurity::default()).unwrap();
    let servers =
        |attempt| settings.client("data", attempt).get("bootstrap.servers").unwrap().to_owned();
    assert_eq!([0, 1, 2, 3, 4].map(servers), ["a:1,b:1,c:1", "b:1", "c:1", "a:1", "b:1"]);
}
