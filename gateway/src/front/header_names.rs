//! Names of headers as AWS spells them on the wire: `ETag`, `Content-Length`, `x-amz-request-id`.
//!
//! HTTP does not tell letters apart in them, but clients exist that search an answer for `ETag: "`. hyper writes names
//! in lower case unless a response carries the spelling of a message that it has parsed, in an extension of a type
//! that it keeps to itself and that is meant for proxies. So a head in AWS's spelling is parsed once, over a pipe in
//! memory, and its extensions are given to every answer. Names that are not in it, such as `x-amz-meta-*`, stay in
//! lower case, which is how AWS writes them.

use http::{Extensions, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OnceCell, mpsc};

use super::answer::{self, Answer};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: names\r\nAccept-Ranges: 1\r\nAllow: 1\r\nCache-Control: 1\r\n\
Connection: close\r\nContent-Disposition: 1\r\nContent-Encoding: 1\r\nContent-Language: 1\r\nContent-Length: 0\r\n\
Content-Range: 1\r\nContent-Type: 1\r\nDate: 1\r\nETag: 1\r\nExpires: 1\r\nLast-Modified: 1\r\nLocation: 1\r\n\
Retry-After: 1\r\nServer: 1\r\n\r\n";

/// Has the answer's header names written as AWS spells them.
pub async fn spell(response: &mut Response<Answer>) {
    static SPELLING: OnceCell<Extensions> = OnceCell::const_new();
    let spelling = SPELLING.get_or_init(parsed).await;
    response.extensions_mut().extend(spelling.clone());
}

/// The extensions of [`HEAD`]; none, and so lower case, if it could not be parsed.
async fn parsed() -> Extensions {
    let (mut client, server) = tokio::io::duplex(4096);
    let (tell, mut told) = mpsc::channel(1);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let _ = tell.try_send(request.extensions().clone());
            Ok::<_, std::convert::Infallible>(answer::empty(204))
        }
    });
    let mut http = http1::Builder::new();
    http.preserve_header_case(true);
    let exchange = async {
        let _ = client.write_all(HEAD).await;
        let _ = http.serve_connection(TokioIo::new(server), service).await;
    };
    exchange.await;
    told.try_recv().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_spelt_as_aws_spells_it() {
        let (mut client, server) = tokio::io::duplex(4096);
        let service = service_fn(|_: http::Request<hyper::body::Incoming>| async {
            let mut response = answer::xml("<a/>".into());
            for (name, value) in [
                ("etag", "\"a\""),
                ("last-modified", "now"),
                ("accept-ranges", "bytes"),
                ("x-amz-request-id", "1"),
                ("x-amz-meta-name", "2"),
                ("server", "Siltstone"),
            ] {
                answer::set(&mut response, name, value);
            }
            spell(&mut response).await;
            Ok::<_, std::convert::Infallible>(response)
        });
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        http1::Builder::new().serve_connection(TokioIo::new(server), service).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        for line in [
            "ETag: \"a\"",
            "Last-Modified: now",
            "Accept-Ranges: bytes",
            "Content-Type: application/xml",
            "Content-Length: 4",
            "Connection: close",
            "x-amz-request-id: 1",
            "x-amz-meta-name: 2",
            "Server: Siltstone",
        ] {
            assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line} in {answer}");
        }
        assert!(answer.contains("\r\nDate: "), "{answer}");
    }
}
