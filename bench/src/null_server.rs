//! The null server: the HTTP server that S3 is built on here, with a map in memory behind it.
//!
//! The processor time of a request to this server is what HTTP itself costs. No signature is verified, nothing is
//! checked or durable, and no header describes an object, so that a store of objects can only be slower.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

type Objects = Arc<RwLock<HashMap<String, Bytes>>>;

/// Serves GET, HEAD and PUT of any path until the process ends, and prints the address once connections are accepted.
/// Fails only if the address cannot be used. A broken connection ends alone.
pub async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| listen.to_string())?;
    println!("null server on http://{}", listener.local_addr()?);
    let objects = Objects::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let objects = objects.clone();
        let answer = service_fn(move |request| answer(objects.clone(), request));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        let connection = builder.serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(async move {
            // A client that goes away is no error of a load.
            let _ = connection.await;
        });
    }
}

async fn answer(
    objects: Objects,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let is_put = parts.method == Method::PUT;
    let found = if is_put {
        let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
        if let Ok(mut objects) = objects.write() {
            objects.insert(parts.uri.path().to_owned(), body);
        }
        Some(Bytes::new())
    } else {
        objects.read().ok().and_then(|objects| objects.get(parts.uri.path()).cloned())
    };
    let mut response = match found {
        Some(bytes) if parts.method == Method::HEAD => {
            let mut response = Response::new(Full::default());
            response.headers_mut().insert("content-length", HeaderValue::from(bytes.len()));
            response
        }
        Some(bytes) => Response::new(Full::new(bytes)),
        None => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    };
    response.headers_mut().insert("etag", HeaderValue::from_static("\"null\""));
    Ok(response)
}
