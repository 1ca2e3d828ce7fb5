//! What programs show to Prometheus.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// How long a program may take to show it.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is shown at `ADDRESS:PORT`: the values of all series, labels being a part of the name.
///
/// # Errors
/// Where nobody answers, or a line is none of the format.
pub fn scrape(address: &str) -> Result<BTreeMap<String, f64>> {
    shown(TcpStream::connect(address)?)
}

/// The same over this connection.
pub(super) fn shown(mut stream: TcpStream) -> Result<BTreeMap<String, f64>> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.contains(" 200 "), "{head}");
    let series = body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let parsed = series.map(|line| {
        let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
        Ok((
            name.to_owned(),
            value.parse().with_context(|| line.to_owned())?,
        ))
    });
    parsed.collect()
}
