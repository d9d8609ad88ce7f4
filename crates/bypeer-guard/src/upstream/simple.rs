//! One connection for each request, through hyper: stands until the guard's own connection is there.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::net::TcpStream;

use super::stream::HyperIo;
use super::{Answer, Event, ResponseBody, Shared, Tunnel};
use crate::account::{Attempt, SharedAccount};
use crate::config;
use crate::failure::Failure;

pub async fn send<B>(
    config: &config::Upstream,
    shared: &Shared,
    request: Request<B>,
    account: &SharedAccount,
) -> Result<Answer<B>, Failure>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin + 'static,
{
    let destination = config.to.first().ok_or(Failure::Refused)?;
    let to: Arc<str> = format!("{}:{}", destination.host, destination.port).into();
    let connect = TcpStream::connect((destination.host.as_str(), destination.port));
    let stream = tokio::time::timeout(config.connect, connect)
        .await
        .map_err(|_| Failure::ConnectTimeout)?
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            _ => Failure::Unreachable(error),
        })?;
    let connection = shared.number_connection();
    shared.tell(&Event::Opened { to: &to, connection });
    account.borrow_mut().attempts.push(Attempt {
        to,
        connection,
        requests_before: 0,
        idle: None,
        first_byte: None,
        send_failed: false,
        surplus: 0,
        failure: None,
    });
    let began = Instant::now();
    let (mut sender, driver) = hyper::client::conn::http1::handshake(HyperIo(stream))
        .await
        .map_err(other)?;
    tokio::task::spawn_local(driver.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(other)?;
    if let Some(attempt) = account.borrow_mut().attempts.last_mut() {
        attempt.first_byte = Some(began.elapsed());
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(other)?;
        let (parts, _) = response.into_parts();
        return Ok(Answer::Switched(
            Response::from_parts(parts, ()),
            Tunnel { io: HyperIo(upgraded) },
        ));
    }
    Ok(Answer::Response(response.map(|incoming| ResponseBody {
        incoming,
        request: PhantomData,
    })))
}

fn other(error: hyper::Error) -> Failure {
    Failure::Other(io::Error::other(error))
}
