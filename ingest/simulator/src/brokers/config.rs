//! The latencies, losses and time-outs of a simulated cluster.

use std::time::Duration;

use crate::random::SimRandom;

/// The properties of a cluster and of its clients. [`BrokerConfig::draw`] takes them from a seed.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// The longest time that a message takes from one process to another.
    pub hop_max: Duration,
    /// The longest time until a broker learns of a decision of the controllers.
    pub decision_max: Duration,
    /// Time for which a broker may be away before the controllers replace it. Up to half as much is
    /// added.
    pub session: Duration,
    /// Time for which a follower stays in sync although its leader cannot reach it.
    pub lag: Duration,
    /// Percentage of answers to producers that are lost, with their connection.
    pub lost_answers_percent: u64,
    /// Percentage of dropped producers that continue for a while with their messages in flight.
    pub late_percent: u64,
    /// The longest time for which a dropped producer continues.
    pub late_max: Duration,
    /// Percentage of messages that are followed by unused offsets.
    pub gap_percent: u64,
    /// The most messages that a follower gets in one fetch.
    pub fetch_messages_max: u64,
    /// The most messages that a producer puts into one request.
    pub request_messages_max: u64,
    /// The most messages that a consumer returns at once.
    pub delivery_messages_max: u64,
    /// Time for which a producer tries to send a message.
    pub message_timeout: Duration,
}

impl BrokerConfig {
    /// A cluster without latencies, losses and gaps. Faults must then come from the test, never from
    /// the seed.
    pub fn calm() -> Self {
        Self {
            hop_max: Duration::ZERO,
            decision_max: Duration::ZERO,
            session: Duration::from_secs(2),
            lag: Duration::from_secs(10),
            lost_answers_percent: 0,
            late_percent: 0,
            late_max: Duration::from_secs(5),
            gap_percent: 0,
            fetch_messages_max: 1000,
            request_messages_max: 100,
            delivery_messages_max: 1000,
            message_timeout: Duration::from_secs(60),
        }
    }

    /// Draws a configuration. Extremes are frequent, since the scale of latencies hides or reveals
    /// races. The same state of `random` always gives the same configuration.
    pub fn draw(random: &SimRandom) -> Self {
        let one_of = |choices: &[u64]| choices[random.below(choices.len() as u64) as usize];
        Self {
            hop_max: Duration::from_micros(one_of(&[0, 50, 3_000, 40_000])),
            decision_max: Duration::from_millis(one_of(&[0, 5, 300])),
            lag: Duration::from_secs(one_of(&[3, 10])),
            lost_answers_percent: one_of(&[0, 0, 1, 5]),
            late_percent: one_of(&[0, 30, 80]),
            gap_percent: one_of(&[0, 0, 10]),
            fetch_messages_max: one_of(&[2, 30, 1000]),
            request_messages_max: one_of(&[1, 3, 100]),
            delivery_messages_max: one_of(&[1, 4, 1000]),
            ..Self::calm()
        }
    }
}
