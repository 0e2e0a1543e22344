//! Multipart uploads, which are several requests but one write: the completion.
//!
//! What comes before it shows nothing to anybody, so it is an operation of its own in the history, and a
//! value can be seen from the moment at which its completion is asked for.

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

/// How long the removal of an upload that came to nothing may take.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// What sending the parts came to.
struct SentParts {
    /// The last answer, which is the first that was no success, if there was one.
    last: Result<HistoryAnswer, LostRequest>,
    /// The upload's id, if it has been created.
    upload: Option<String>,
    /// The ETags of the parts that were taken.
    etags: Vec<String>,
}

impl Caller {
    /// Uploads an object in parts.
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
        // Nobody will complete it, so nothing can be seen of it, whatever becomes of this request.
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
