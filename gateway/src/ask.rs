//! What the commands ask of a running server's admin address.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Posts to the admin address and copies the answer to standard output as it comes.
pub fn post(admin: &str, path: &str, body: String) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(exchange(admin, path, body))
}

/// Gets something short from the admin address.
pub fn get(admin: &str, path: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
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

async fn exchange(admin: &str, path: &str, body: String) -> anyhow::Result<ExitCode> {
    let mut answer = send(admin, http::Request::post(path), body).await?.into_body();
    let mut out = std::io::stdout().lock();
    while let Some(frame) = answer.frame().await {
        let frame =
            frame.context("the answer broke off; what is printed above is not all of it")?;
        if let Ok(piece) = frame.into_data() {
            out.write_all(&piece)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
