use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ingest::log::brokers::{Brokers, ConsumeError, ProducerKind, SendError};
use kafka::{
    ConnectionError, ConnectionSecurity, KafkaBrokers, KafkaSettings, SaslMechanism, SaslSettings,
    TlsSettings, check_connection, create, describe,
};

use crate::trial::{ONE, PATIENCE, servers};

async fn check(servers: &[String], security: ConnectionSecurity) -> Result<(), ConnectionError> {
    let settings = KafkaSettings::new(servers.to_vec(), "c", security).unwrap();
    let began = Instant::now();
    let checked = check_connection(&settings).await;
    println!("{servers:?} after {:?}: {checked:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    checked
}

#[tokio::test]
async fn brokers_that_answer_are_found() {
    let Some(servers) = servers("SILTSTONE_KAFKA", "brokers_that_answer") else { return };
    check(&servers, ConnectionSecurity::default()).await.unwrap();
    // One that answers is enough.
    let mut some_dead = vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    some_dead.push(servers[0].clone());
    check(&some_dead, ConnectionSecurity::default()).await.unwrap();
}

/// Nobody there, somebody who is silent, and somebody who does not speak Kafka.
#[tokio::test]
async fn brokers_that_do_not_answer_are_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for server in ["127.0.0.1:1".to_owned(), silent, "no-such-host.invalid:9092".to_owned()] {
        let error =
            check(std::slice::from_ref(&server), ConnectionSecurity::default()).await.unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with(&format!("no broker answers at {server}: ")), "{words}");
    }
}

fn sasl(mechanism: SaslMechanism, password: &str) -> ConnectionSecurity {
    let (user, password) = ("siltstone".to_owned(), password.to_owned());
    ConnectionSecurity { tls: None, sasl: Some(SaslSettings { mechanism, user, password }) }
}

/// `SILTSTONE_KAFKA_SASL` names a listener without TLS that knows the user `siltstone` with the password
/// `quartz` by all three mechanisms.
#[tokio::test]
async fn a_wrong_password_is_told_from_silence() {
    let Some(servers) = servers("SILTSTONE_KAFKA_SASL", "a_wrong_password") else { return };
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512]
    {
        check(&servers, sasl(mechanism, "quartz")).await.unwrap();
        let error = check(&servers, sasl(mechanism, "feldspar")).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Authentication(_)), "{error}");
        assert!(!error.to_string().contains("feldspar"));
    }
    let error = check(&servers, ConnectionSecurity::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::NoAnswer { .. }), "{error}");

    // Clients that had been let in once meet the same later on.
    let wrong =
        KafkaSettings::new(servers, "c", sasl(SaslMechanism::ScramSha256, "feldspar")).unwrap();
    let brokers = KafkaBrokers::new(wrong);
    let began = Instant::now();
    let mut consumer = brokers.consumer(ONE, Default::default(), 0).unwrap();
    let refused = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap_err();
    println!("consumer after {:?}: {refused}", began.elapsed());
    assert!(matches!(refused, ConsumeError::Refused(_)), "{refused}");
    let producer = brokers.producer(ProducerKind::Commits, 0).unwrap();
    let mut sent = producer.send(ONE, vec![1].into());
    let waits = tokio::time::timeout(Duration::from_secs(3), &mut sent).await;
    assert!(waits.is_err(), "what is in the queue may still be sent: {waits:?}");
    drop(producer);
    assert!(matches!(sent.await, Err(SendError::Unknown(_))));
}

/// The same user may do nothing.
#[tokio::test]
async fn a_user_without_rights_is_refused() {
    let Some(servers) = servers("SILTSTONE_KAFKA_SASL", "a_user_without_rights") else { return };
    let settings = KafkaSettings::new(servers, "c", sasl(SaslMechanism::Plain, "quartz")).unwrap();
    let brokers = KafkaBrokers::new(settings.clone());
    let mut consumer = brokers.consumer(ONE, Default::default(), 0).unwrap();
    let began = Instant::now();
    let refused = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap_err();
    println!("consumer after {:?}: {refused}", began.elapsed());
    assert!(matches!(refused, ConsumeError::Refused(_)), "{refused}");
    println!("bounds: {:?}", brokers.bounds(ONE).await.unwrap_err());
    println!("trim: {:?}", brokers.delete_below(ONE, Default::default()).await.unwrap_err());
    println!("describe: {:?}", describe(&settings).await.unwrap_err());
    println!("create: {:?}", create(&settings, 1, 1).await.unwrap_err());

    // The first is refused once it is known who leads, later ones at the door.
    let producer = brokers.producer(ProducerKind::Commits, 0).unwrap();
    let first = tokio::time::timeout(PATIENCE, producer.send(ONE, vec![1].into())).await.unwrap();
    assert!(matches!(first, Err(SendError::Unknown(_))), "{first:?}");
    let later = tokio::time::timeout(PATIENCE, producer.send(ONE, vec![2].into())).await.unwrap();
    assert!(matches!(later, Err(SendError::NotSent(_))), "{later:?}");
}

/// `SILTSTONE_KAFKA_TLS` names a listener with TLS whose certificate, for `localhost` only, was signed by
/// the authority in the PEM file `SILTSTONE_KAFKA_CA`.
#[tokio::test]
async fn a_certificate_has_to_be_good() {
    let test = "a_certificate_has_to_be_good";
    let Some(servers) = servers("SILTSTONE_KAFKA_TLS", test) else { return };
    let ca = PathBuf::from(std::env::var("SILTSTONE_KAFKA_CA").unwrap());
    let tls = |ca_file: Option<&PathBuf>, checks_host| {
        let tls = TlsSettings { ca_file: ca_file.cloned(), client: None, checks_host };
        ConnectionSecurity { tls: Some(tls), sasl: None }
    };
    check(&servers, tls(Some(&ca), true)).await.unwrap();
    let error = check(&servers, tls(None, true)).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Tls(_)), "{error}");
    let by_number: Vec<_> = servers.iter().map(|s| s.replace("localhost", "127.0.0.1")).collect();
    let error = check(&by_number, tls(Some(&ca), true)).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Tls(_)), "{error}");
    check(&by_number, tls(Some(&ca), false)).await.unwrap();
    let error = check(&servers, ConnectionSecurity::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::NoAnswer { .. }), "{error}");
}
