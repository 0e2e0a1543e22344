use kafka::{TopicCreation, TopicSafety, create, describe, problems};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};

use crate::trial::Trial;

/// What is made is safe, and making it again changes nothing.
#[tokio::test]
async fn a_topic_is_made_safe() {
    let Some(trial) = Trial::unmade("made").await else { return };
    let settings = &trial.settings;
    let missing = describe(settings).await.unwrap();
    assert!(missing.partitions.is_empty() && missing.settings.is_empty(), "{missing:?}");
    let safety = if missing.brokers < 3 { TopicSafety::TRIAL } else { TopicSafety::default() };
    let refused = problems(&missing, None, &safety);
    assert!(refused.len() == 1 && refused[0].problem.contains("there is no topic"), "{refused:?}");

    assert_eq!(create(settings, 5, safety.replicas_min).await, Ok(TopicCreation::Created));
    assert_eq!(create(settings, 7, safety.replicas_min).await, Ok(TopicCreation::AlreadyThere));
    let topic = describe(settings).await.unwrap();
    assert_eq!(topic.partitions.len(), 5);
    for partition in &topic.partitions {
        assert_eq!(partition.replicas.len(), safety.replicas_min as usize);
        assert!(partition.leader.is_some_and(|leader| partition.replicas.contains(&leader)));
        assert!(!partition.in_sync.is_empty());
    }
    assert_eq!(topic.settings["message.timestamp.type"], "LogAppendTime");
    assert_eq!(problems(&topic, Some(5), &safety), []);
    assert_eq!(problems(&topic, Some(6), &safety).len(), 1);
    trial.end().await;
}

/// More replicas than brokers: said in words, and nothing is made.
#[tokio::test]
async fn replicas_need_brokers() {
    let Some(trial) = Trial::unmade("many").await else { return };
    let error = create(&trial.settings, 1, 100).await.unwrap_err().to_string();
    assert!(error.contains("cannot have 100 replicas: there are fewer brokers"), "{error}");
    assert!(describe(&trial.settings).await.unwrap().partitions.is_empty());
}

/// Settings that a topic is made with.
type Set = &'static [(&'static str, &'static str)];

/// Topics that others made are refused for what is wrong with them, also for what they inherit.
#[tokio::test]
async fn an_unsafe_topic_is_refused_for_each_reason() {
    let table: [(Set, &[&str]); 4] = [
        (&[], &["kept by as few as 1", "min.insync.replicas", "message.timestamp.type"]),
        (
            &[("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")],
            &["kept by as few as 1", "min.insync.replicas", "cleanup.policy"],
        ),
        (
            &[("retention.ms", "86400000"), ("retention.bytes", "1000000")],
            &[
                "kept by as few as 1",
                "min.insync.replicas",
                "retention.ms",
                "retention.bytes",
                "message.timestamp.type",
            ],
        ),
        (
            &[
                ("min.insync.replicas", "1"),
                ("unclean.leader.election.enable", "true"),
                ("max.message.bytes", "1000"),
            ],
            &[
                "kept by as few as 1",
                "min.insync.replicas of topic",
                "unclean.leader.election.enable",
                "message.timestamp.type",
                "max.message.bytes",
            ],
        ),
    ];
    for (set, expected) in table {
        let Some(trial) = Trial::unmade("unsafe").await else { return };
        let name = trial.settings.topic();
        let mut topic = NewTopic::new(&name, 2, TopicReplication::Fixed(1));
        topic.config.extend(set);
        let made = trial.admin().create_topics(&[topic], &AdminOptions::new()).await.unwrap();
        made.into_iter().next().unwrap().unwrap();
        let found = loop {
            let found = describe(&trial.settings).await.unwrap();
            if !found.partitions.is_empty() {
                break found;
            }
        };
        let refused = problems(&found, Some(2), &TopicSafety::default());
        for refusal in &refused {
            println!("{refusal}");
        }
        assert_eq!(refused.len(), expected.len(), "{set:?}");
        for (refusal, words) in refused.iter().zip(expected) {
            assert!(refusal.problem.contains(words), "{set:?}: {refusal}");
        }
        trial.end().await;
    }
}
