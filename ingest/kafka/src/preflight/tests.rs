use super::*;

fn safe_topic() -> TopicDescription {
    let partition =
        PartitionDescription { leader: Some(1), replicas: vec![1, 2, 3], in_sync: vec![1, 2, 3] };
    let settings = [
        ("min.insync.replicas", "2"),
        ("unclean.leader.election.enable", "false"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("cleanup.policy", "delete"),
        ("message.timestamp.type", "LogAppendTime"),
        ("max.message.bytes", "1048588"),
        ("segment.bytes", "67108864"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    TopicDescription {
        name: "siltstone-t".into(),
        brokers: 3,
        partitions: vec![partition; 4],
        settings: settings.into(),
    }
}

fn problem_texts(
    topic: &TopicDescription,
    expected: Option<u32>,
    safety: TopicSafety,
) -> Vec<String> {
    super::problems(topic, expected, &safety).into_iter().map(|problem| problem.problem).collect()
}

#[test]
fn a_safe_topic_is_not_refused() {
    assert_eq!(problem_texts(&safe_topic(), None, TopicSafety::default()), [""; 0]);
    assert_eq!(problem_texts(&safe_topic(), Some(4), TopicSafety::default()), [""; 0]);
}

#[test]
fn each_unsafe_setting_is_refused_by_name_and_value() {
    let table = [
        ("min.insync.replicas", "1"),
        ("min.insync.replicas", "4"),
        ("unclean.leader.election.enable", "true"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", ""),
        ("message.timestamp.type", "CreateTime"),
        ("max.message.bytes", "1000000"),
    ];
    for (name, value) in table {
        let mut topic = safe_topic();
        topic.settings.insert(name.into(), value.into());
        let found = super::problems(&topic, Some(4), &TopicSafety::default());
        assert_eq!(found.len(), 1, "{name}={value}: {found:?}");
        let begin = format!("{name} of topic siltstone-t is {value}");
        assert!(found[0].problem.starts_with(&begin), "{}", found[0].problem);
        assert!(!found[0].remedy.is_empty());
    }
}

#[test]
fn a_setting_that_is_not_known_is_refused() {
    for name in safe_topic().settings.keys().filter(|name| *name != "segment.bytes") {
        let mut topic = safe_topic();
        topic.settings.remove(name);
        let found = problem_texts(&topic, None, TopicSafety::default());
        assert_eq!(found, [format!("the brokers do not say what {name} of topic siltstone-t is")]);
    }
}

#[test]
fn what_is_missing_altogether_is_the_only_complaint() {
    let mut topic = safe_topic();
    topic.partitions.clear();
    topic.settings.clear();
    assert_eq!(
        problem_texts(&topic, Some(4), TopicSafety::default()),
        ["there is no topic siltstone-t"]
    );
}

#[test]
fn another_number_of_partitions_is_refused() {
    for expected in [1, 3, 5] {
        let found = problem_texts(&safe_topic(), Some(expected), TopicSafety::default());
        assert_eq!(found, [format!("topic siltstone-t has 4 partitions, expected {expected}")]);
    }
}

#[test]
fn one_partition_with_too_few_replicas_is_enough() {
    let mut topic = safe_topic();
    topic.partitions[2].replicas = vec![1, 2];
    let found = problem_texts(&topic, None, TopicSafety::default());
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("1 of 4 partitions of topic siltstone-t are kept by as few as 2"));
}

#[test]
fn a_trial_may_have_one_replica_and_nothing_else_is_let_pass() {
    let mut topic = safe_topic();
    for partition in &mut topic.partitions {
        partition.replicas = vec![1];
    }
    topic.settings.insert("min.insync.replicas".into(), "1".into());
    assert_eq!(problem_texts(&topic, None, TopicSafety::default()).len(), 2);
    assert_eq!(problem_texts(&topic, None, TopicSafety::TRIAL), [""; 0]);
    topic.settings.insert("retention.ms".into(), "1000".into());
    assert_eq!(problem_texts(&topic, None, TopicSafety::TRIAL).len(), 1);
}
