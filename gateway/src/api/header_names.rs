//! Names of headers as AWS spells them on the wire: `ETag`, `Content-Length`, `x-amz-request-id`.
//!
//! HTTP does not tell letters apart in them, but clients exist that search an answer for `ETag: "`. hyper writes names
//! in lower case unless a response carries the spelling of a message that it has parsed, in an extension of a type
//! that it keeps to itself and that is meant for proxies. So a head in AWS's spelling is parsed once, over a pipe in
//! memory, and its extensions are given to every answer. Names that are not in it, such as `x-amz-meta-*`, stay in
//! lower case, which is how AWS writes them.

use futures::FutureExt;
use http::{Extensions, HeaderName, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::unconstrained;

use super::response::{self, ResponseBody};

/// The header names of the most frequent responses. Fewer names make each response cheaper.
const FEW: &[u8] =
    b"GET / HTTP/1.1\r\nAccept-Ranges: 1\r\nConnection: close\r\nContent-Length: 0\r\n\
Content-Type: 1\r\nDate: 1\r\nETag: 1\r\nLast-Modified: 1\r\nServer: 1\r\n\r\n";
/// The header names of all responses.
const ALL: &[u8] = b"GET / HTTP/1.1\r\nAccept-Ranges: 1\r\nAccess-Control-Allow-Credentials: 1\r\n\
Access-Control-Allow-Headers: 1\r\nAccess-Control-Allow-Methods: 1\r\nAccess-Control-Allow-Origin: 1\r\n\
Access-Control-Expose-Headers: 1\r\nAccess-Control-Max-Age: 1\r\nAllow: 1\r\nCache-Control: 1\r\nConnection: close\r\n\
Content-Disposition: 1\r\nContent-Encoding: 1\r\nContent-Language: 1\r\nContent-Length: 0\r\nContent-Range: 1\r\n\
Content-Type: 1\r\nDate: 1\r\nETag: 1\r\nExpires: 1\r\nLast-Modified: 1\r\nLocation: 1\r\nRetry-After: 1\r\n\
Server: 1\r\nVary: 1\r\n\r\n";

thread_local! {
    /// One for each thread: cloning counts references, and a count that all threads share would make each
    /// answer wait for the others' processors. Parsing never waits, unless for the turn of the task that happens to
    /// be the first here, of which it takes nothing.
    static SPELLINGS: [Extensions; 2] =
        [FEW, ALL].map(|head| unconstrained(parsed(head)).now_or_never().unwrap_or_default());
}

/// True for a name that is in [`FEW`], and for a name that every response has in lower case.
fn is_everyday(name: &HeaderName) -> bool {
    use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, SERVER};
    let few = [ETAG, CONTENT_LENGTH, CONTENT_TYPE, LAST_MODIFIED, ACCEPT_RANGES, SERVER];
    few.contains(name) || name.as_str().starts_with("x-amz-")
}

/// Makes hyper write the response's header names as AWS spells them. Must come after the last header is set.
pub fn spell(response: &mut Response<ResponseBody>) {
    let is_everyday = response.headers().keys().all(is_everyday);
    *response.extensions_mut() =
        SPELLINGS.with(|[few, all]| if is_everyday { few.clone() } else { all.clone() });
}

/// The extensions of a request's head; none, and so lower case, if it could not be parsed.
async fn parsed(head: &[u8]) -> Extensions {
    let (mut client, server) = tokio::io::duplex(4096);
    let (tell, mut told) = mpsc::channel(1);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let _ = tell.try_send(request.extensions().clone());
            Ok::<_, std::convert::Infallible>(response::empty(204))
        }
    });
    let mut http = http1::Builder::new();
    http.preserve_header_case(true);
    let exchange = async {
        let _ = client.write_all(head).await;
        let _ = http.serve_connection(TokioIo::new(server), service).await;
    };
    exchange.await;
    told.try_recv().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn written(headers: &[(&'static str, &'static str)]) -> String {
        let (mut client, server) = tokio::io::duplex(4096);
        let service = service_fn(|_: http::Request<hyper::body::Incoming>| async {
            let mut response = response::xml("<a/>".into());
            for (name, value) in headers {
                response::set(&mut response, *name, value);
            }
            spell(&mut response);
            Ok::<_, std::convert::Infallible>(response)
        });
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        http1::Builder::new().serve_connection(TokioIo::new(server), service).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_answer_is_spelt_as_aws_spells_it() {
        let everyday = [
            ("etag", "\"a\""),
            ("last-modified", "now"),
            ("accept-ranges", "bytes"),
            ("x-amz-request-id", "1"),
            ("x-amz-meta-name", "2"),
            ("server", "Siltstone"),
        ];
        let rare = [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "a"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "b"),
            ("access-control-max-age", "1"),
            ("allow", "GET"),
            ("cache-control", "no-store"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-language", "en"),
            ("content-range", "bytes 0-1/2"),
            ("expires", "now"),
            ("location", "/"),
            ("retry-after", "1"),
            ("vary", "Origin"),
        ];
        let spelt_everyday = [
            "ETag: \"a\"",
            "Last-Modified: now",
            "Accept-Ranges: bytes",
            "Content-Type: application/xml",
            "Content-Length: 4",
            "Connection: close",
            "x-amz-request-id: 1",
            "x-amz-meta-name: 2",
            "Server: Siltstone",
        ];
        let spelt_rare = [
            "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Headers: a",
            "Access-Control-Allow-Methods: GET",
            "Access-Control-Allow-Origin: *",
            "Access-Control-Expose-Headers: b",
            "Access-Control-Max-Age: 1",
            "Allow: GET",
            "Cache-Control: no-store",
            "Content-Disposition: inline",
            "Content-Encoding: gzip",
            "Content-Language: en",
            "Content-Range: bytes 0-1/2",
            "Expires: now",
            "Location: /",
            "Retry-After: 1",
            "Vary: Origin",
        ];
        let answer = written(&everyday).await;
        let both = written(&[&everyday[..], &rare[..]].concat()).await;
        for line in spelt_everyday {
            for answer in [&answer, &both] {
                assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} in {answer}");
            }
        }
        for line in spelt_rare {
            assert!(both.contains(&format!("\r\n{line}\r\n")), "{line} in {both}");
        }
        assert!(answer.contains("\r\nDate: "), "{answer}");
    }

    /// The first answer of a thread may be made by a task that has used its turn up: then the names of that
    /// thread would be in lower case for ever.
    #[tokio::test]
    async fn a_task_at_the_end_of_its_turn_spells_alike() {
        while tokio::task::coop::has_budget_remaining() {
            tokio::task::coop::consume_budget().now_or_never();
        }
        let mut response = response::empty(200);
        spell(&mut response);
        assert!(!response.extensions().is_empty());
    }
}
