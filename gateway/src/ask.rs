//! What the commands ask of a running server's admin address.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// An access key and its secret key.
pub type Keys = (String, String);

/// Posts to the admin address and copies the answer to standard output as it comes.
pub fn post(admin: &str, path: &str, body: String) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(exchange(admin, http::Request::post(path), body))?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A server that is asked in SQL, with somebody's keys.
pub struct Sql {
    admin: String,
    authorization: String,
    runtime: Runtime,
}

impl Sql {
    /// The server at an admin address.
    pub fn new(admin: String, (access_key, secret_key): &Keys) -> anyhow::Result<Self> {
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{access_key}:{secret_key}"));
        Ok(Self { admin, authorization: format!("Basic {pair}"), runtime: runtime()? })
    }

    fn request(&self, format: &str) -> http::request::Builder {
        http::Request::post(format!("/sql?format={format}"))
            .header("authorization", &self.authorization)
    }

    /// Runs a query and copies its answer to standard output as it comes. An interrupt ends it.
    pub fn run(&self, query: &str, format: &str) -> anyhow::Result<()> {
        self.runtime.block_on(async {
            let answer = exchange(&self.admin, self.request(format), query.to_owned());
            tokio::select! {
                answered = answer => answered,
                _ = tokio::signal::ctrl_c() => bail!("the query was ended"),
            }
        })
    }

    /// Runs a query; gives its answer, which is short.
    pub fn text(&self, query: &str, format: &str) -> anyhow::Result<String> {
        self.runtime.block_on(async {
            let answer = send(&self.admin, self.request(format), query.to_owned()).await?;
            let text = answer.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Gets something short from the admin address.
pub fn get(admin: &str, path: &str) -> anyhow::Result<String> {
    runtime()?.block_on(async {
        let answer = send(admin, http::Request::get(path), String::new()).await?;
        let text = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
}

/// Sends a request; gives the answer if it is a success.
async fn send(
    admin: &str,
    request: http::request::Builder,
    body: String,
) -> anyhow::Result<http::Response<Incoming>> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let stream = TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("no server answers on {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = request
        .header("host", address)
        .header("content-type", "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !status.is_success() {
        let text = response.into_body().collect().await?.to_bytes();
        bail!("{} ({status})", String::from_utf8_lossy(&text).trim());
    }
    Ok(response)
}

async fn exchange(
    admin: &str,
    request: http::request::Builder,
    body: String,
) -> anyhow::Result<()> {
    let mut answer = send(admin, request, body).await?.into_body();
    let mut out = std::io::stdout().lock();
    while let Some(frame) = answer.frame().await {
        let frame =
            frame.context("the answer broke off; what is printed above is not all of it")?;
        if let Ok(piece) = frame.into_data() {
            out.write_all(&piece)?;
        }
    }
    out.flush()?;
    Ok(())
}
