//! Multipart uploads, which are several requests but one write: the completion.
//!
//! The requests before the completion change no object, so together they are an operation of their own in the
//! history. The value can be seen from the moment at which its completion is sent.

use std::time::Duration;

use tokio::time::timeout;

use super::answer::{HistoryAnswer, of_answer, of_lost};
use super::caller::Caller;
use super::choice::ObjectPlace;
use super::endpoints::EndpointTurn;
use super::line::{Action, OperationOutcome};
use super::request::HistoryRequest;
use super::value::HistoryValue;
use crate::client::LostRequest;

/// The time limit for aborting an upload that will not be completed.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// The result of sending the parts.
struct SentParts {
    /// The last answer. If a request had no success, that one was the last.
    last: Result<HistoryAnswer, LostRequest>,
    /// The id of the upload, if it was created.
    upload: Option<String>,
    /// The ETags of the parts that were accepted, in the order of the parts.
    etags: Vec<String>,
}

impl Caller {
    /// Uploads an object of about `bytes` bytes in parts, and records two operations: the parts, then the
    /// completion.
    ///
    /// The completion is sent only if all parts were accepted; otherwise the upload, if it was created, is
    /// aborted, which is not recorded. Fails only if the history file cannot be written.
    pub(super) async fn upload(&mut self, place: &ObjectPlace, bytes: u64) -> anyhow::Result<()> {
        let value = self.value(bytes);
        let (bucket, written) = (self.bucket(place), value.written_in_parts());
        let action = Action::Upload { key: place.key.clone(), written: written.clone() };
        let turn = self.turn(None).await;
        let op = self.begin(&bucket, &action, &turn)?;
        let SentParts { last, upload, etags } = self.send(&turn, place, &value).await;
        let ending = match &last {
            Ok(answer) => of_answer(&action, answer),
            Err(lost) => of_lost(lost),
        };
        self.end(op, &ending, turn).await?;
        let Some(upload) = upload else { return Ok(()) };
        if ending.outcome == OperationOutcome::Ok && etags.len() == value.parts().len() {
            let request = HistoryRequest::complete_upload(&bucket, &place.key, &upload, &etags);
            let action = Action::Complete { key: place.key.clone(), written };
            return self.on_object(place, action, &request, None).await.map(drop);
        }
        // The upload will not be completed, so its value can never be seen, independent of the result of this
        // request.
        let request = HistoryRequest::abort_upload(&bucket, &place.key, &upload);
        let turn = self.turn(None).await;
        let _ = timeout(ABORT_WITHIN, self.ask(&turn, &request)).await;
        Ok(())
    }

    async fn send(
        &mut self,
        turn: &EndpointTurn,
        place: &ObjectPlace,
        value: &HistoryValue,
    ) -> SentParts {
        let (bucket, key) = (self.bucket(place), &place.key);
        let last = self.ask(turn, &HistoryRequest::create_upload(&bucket, key)).await;
        let created = last.as_ref().ok().filter(|answer| answer.status.is_success());
        let upload = created.and_then(|answer| answer.element("UploadId"));
        let mut sent = SentParts { last, upload, etags: Vec::new() };
        let Some(upload) = &sent.upload else { return sent };
        for (index, part) in value.parts().into_iter().enumerate() {
            sent.last =
                self.ask(turn, &HistoryRequest::part(&bucket, key, upload, index + 1, part)).await;
            let taken = sent.last.as_ref().ok().filter(|answer| answer.status.is_success());
            let Some(etag) = taken.and_then(HistoryAnswer::etag) else { break };
            sent.etags.push(etag);
        }
        sent
    }
}
