//! What is no HTTP/2, or hardly: on bare connections.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use upshift_shared::clock::Stopwatch;
use upshift_tests::{eventually_async, seeds};

use crate::rig::{DEADLINE, Rig, exchange, is_closed};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field that goes into no table: RFC 7541, section 6.2.2, with lengths of one byte.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).expect("it is short") & 0x7f);
        field.extend(text.as_bytes());
    }
    field
}

fn request(path: &str) -> Vec<u8> {
    [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "upshift"),
        field("te", "trailers"),
        field("content-type", "application/grpc"),
    ]
    .concat()
}

fn hello() -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A proper call of Status, as bytes of a connection.
fn proper() -> Vec<u8> {
    [
        hello(),
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &request("/upshift.v1.Operator/Status"),
        ),
        frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0]),
        frame(PING, 0, 0, &[7; 8]),
    ]
    .concat()
}

/// Whether there are headers on the first stream among these frames, as they are where its call was answered.
fn has_answer(mut bytes: &[u8]) -> bool {
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] == HEADERS && head[5..] == [0, 0, 0, 1] {
            return true;
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}

/// Whether a proper call is answered there; the other side may end instead.
async fn is_answered(stream: &mut TcpStream) -> Result<bool> {
    let mut answer = Vec::new();
    let asks = async {
        // It may be closed already.
        let _closed = stream.write_all(&proper()).await;
        while !has_answer(&answer) {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    };
    Ok(timeout(DEADLINE, asks).await?)
}

/// How long until the other side ends.
async fn lives(mut stream: TcpStream) -> Result<Duration> {
    let begun = Stopwatch::start();
    ensure!(is_closed(&mut stream).await, "it is not ended");
    Ok(begun.elapsed())
}

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let length = random.random_range(0..most);
    (0..length).map(|_| random.random()).collect()
}

/// Frames of which this or that is not as it should be.
fn fuzzed(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = hello();
    for _ in 0..random.random_range(1..40) {
        let kind = random.random_range(0..12);
        let stream = random.random_range(0..8) | (u32::from(random.random_bool(0.05)) << 31);
        let payload = match kind {
            HEADERS | CONTINUATION if random.random_bool(0.7) => {
                request("/upshift.v1.Session/Open")
            }
            SETTINGS if random.random_bool(0.7) => {
                let mut setting = vec![0, random.random_range(0..8)];
                setting.extend(random.random::<u32>().to_be_bytes());
                setting
            }
            _ => noise(random, 200),
        };
        let mut frame = frame(kind, random.random(), stream, &payload);
        if random.random_bool(0.1) {
            let at = random.random_range(0..frame.len());
            frame[at] = random.random();
        }
        bytes.extend(frame);
    }
    bytes
}

/// A proper call with some bytes changed, left out, or put in.
fn mutated(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = proper();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] = random.random(),
            1 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, random.random()),
        }
    }
    bytes
}

#[tokio::test]
async fn what_is_no_http2_harms_nobody() -> Result<()> {
    let mut rig = Rig::new("").await?;
    // hyper itself would wait for ever.
    let mut waiting = JoinSet::new();
    waiting.spawn(lives(rig.connect(2).await?));
    let mut hesitant = rig.connect(2).await?;
    hesitant.write_all(&PREFACE[..10]).await?;
    waiting.spawn(lives(hesitant));
    // It speaks HTTP/2, but nobody asks for anything.
    let mut polite = rig.connect(2).await?;
    polite.write_all(PREFACE).await?;
    polite.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    waiting.spawn(lives(polite));
    ensure!(
        is_answered(&mut rig.connect(3).await?).await?,
        "a proper call is not answered"
    );
    for (what, bytes) in [
        (
            "HTTP/1",
            b"GET / HTTP/1.1\r\nHost: upshift\r\n\r\n".to_vec(),
        ),
        ("a line without end", vec![b'A'; 1 << 20]),
        (
            "a greeting of TLS, cut off",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef".to_vec(),
        ),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface and no more", PREFACE.to_vec()),
    ] {
        let answer = exchange(&mut rig.connect(3).await?, &bytes).await;
        let answer = answer.context(what)?;
        let text = String::from_utf8_lossy(&answer);
        ensure!(
            !text.contains("grpc-status") && !text.contains("200 OK"),
            "{what}: {text}"
        );
        rig.is_well(what).await?;
    }
    for seed in seeds(1..61) {
        let mut random = StdRng::seed_from_u64(seed);
        for bytes in [
            noise(&mut random, 1 << 14),
            fuzzed(&mut random),
            mutated(&mut random),
        ] {
            let ended = exchange(&mut rig.connect(4).await?, &bytes).await;
            ended.with_context(|| format!("UPSHIFT_SEED={seed}"))?;
        }
        if seed % 20 == 0 {
            rig.is_well(&format!("UPSHIFT_SEED={seed}")).await?;
        }
    }
    while let Some(lived) = waiting.join_next().await {
        let lived = lived??;
        ensure!(lived >= Duration::from_secs(5), "it was given {lived:?}");
    }
    rig.is_well("all").await?;
    rig.end().await?;
    Ok(())
}

/// Writes the same again and again, until it is no longer taken; how many bytes were.
async fn pour(stream: &mut TcpStream, bytes: &[u8], times: usize) -> usize {
    let mut poured = 0;
    for _ in 0..times {
        let written = timeout(Duration::from_secs(2), stream.write_all(bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
        poured += bytes.len();
    }
    poured
}

#[tokio::test]
async fn floods_are_cut_off() -> Result<()> {
    let mut rig = Rig::new("").await?;
    // CVE-2023-44487: streams that are opened and reset at once.
    let mut stream = rig.connect(5).await?;
    stream.write_all(&hello()).await?;
    let open = request("/upshift.v1.Session/Open");
    for id in (1..60_000).step_by(2) {
        let mut both = frame(HEADERS, END_HEADERS, id, &open);
        both.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        if stream.write_all(&both).await.is_err() {
            break;
        }
    }
    ensure!(is_closed(&mut stream).await, "resets go on");
    rig.is_well("a flood of RST_STREAM").await?;
    // CVE-2024-27316: headers without an end.
    let mut stream = rig.connect(6).await?;
    stream.write_all(&hello()).await?;
    stream.write_all(&frame(HEADERS, 0, 1, &open)).await?;
    let more = frame(
        CONTINUATION,
        0,
        1,
        &field("x", &"y".repeat(100)).repeat(100),
    );
    let poured = pour(&mut stream, &more, 20_000).await;
    ensure!(poured < 100 << 20, "{poured} bytes of headers were taken");
    ensure!(is_closed(&mut stream).await, "headers go on");
    rig.is_well("headers without an end").await?;
    // Answers that nobody reads: pings, settings.
    for (kind, payload) in [(PING, vec![1; 8]), (SETTINGS, Vec::new())] {
        let mut stream = rig.connect(7).await?;
        stream.write_all(&hello()).await?;
        pour(&mut stream, &frame(kind, 0, 0, &payload).repeat(1000), 1000).await;
        rig.is_well(&format!("a flood of frames of kind {kind}"))
            .await?;
    }
    rig.end().await?;
    Ok(())
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let begun = Stopwatch::start();
    let mut streams = Vec::new();
    for _ in 0..600 {
        streams.push(rig.connect(8).await?);
    }
    let beyond = streams.iter_mut().skip(512);
    let closed = futures::future::join_all(beyond.map(is_closed)).await;
    ensure!(
        closed == [true; 88],
        "not all beyond the limit were turned away: {closed:?}"
    );
    rig.is_well("600 connections of one address").await?;
    drop(streams);
    eventually_async("one more is let in", DEADLINE, async || {
        is_answered(&mut rig.connect(8).await?).await
    })
    .await?;
    let said = rig.end().await?;
    let lines = said.matches("one was turned away").count();
    // Twenty at once, and one a second.
    let most = 21 + begun.elapsed().as_secs() as usize;
    ensure!((1..=most).contains(&lines), "{lines} lines of the log");
    Ok(())
}
