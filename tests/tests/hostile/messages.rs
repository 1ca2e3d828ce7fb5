//! Messages that are none, to every method, over HTTP/2 that is in order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2::client::SendRequest;
use http::Request;
use prost::{Message, bytes::Bytes};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::timeout};
use upshift_proto::v1::{
    Hello, PauseRequest, SubmitOrder, SubmitPart, WorkerMessage, submit_part, worker_message,
};
use upshift_tests::seeds;

use crate::rig::{DEADLINE, FORGED, Rig};

const METHODS: [&str; 14] = [
    "upshift.v1.Operator/Submit",
    "upshift.v1.Operator/Status",
    "upshift.v1.Operator/Watch",
    "upshift.v1.Operator/Pause",
    "upshift.v1.Operator/Resume",
    "upshift.v1.Operator/Rollback",
    "upshift.v1.Operator/Commit",
    "upshift.v1.Operator/Workers",
    "upshift.v1.Operator/Drain",
    "upshift.v1.Session/Open",
    "grpc.health.v1.Health/Check",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "upshift.v1.Operator/NoSuchMethod",
    "no.such.Service/Method",
];

/// Those whose answers are streams.
const STREAMS: [&str; 2] = ["upshift.v1.Operator/Watch", "upshift.v1.Session/Open"];
/// After so long a stream that has not ended is one that goes on.
const GOES_ON: Duration = Duration::from_millis(500);

/// A connection that sends bodies of any kind.
struct Line {
    send: SendRequest<Bytes>,
    _driving: JoinSet<()>,
}

impl Line {
    async fn open(rig: &Rig, from: u8) -> Result<Self> {
        let (send, connection) = h2::client::handshake(rig.connect(from).await?).await?;
        let mut driving = JoinSet::new();
        driving.spawn(async {
            // It ends with whoever has it.
            let _closed = connection.await;
        });
        Ok(Self {
            send,
            _driving: driving,
        })
    }

    /// The status that a call ends with.
    async fn call(&mut self, method: &str, body: Vec<u8>) -> Result<u32> {
        let request = Request::post(format!("http://upshift/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut send = self.send.clone().ready().await?;
        let (answer, mut stream) = send.send_request(request, false)?;
        // A refusal may come before all is sent.
        let _refused = stream.send_data(body.into(), true);
        let answer = answer.await?;
        let early = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
        }
        let late = body.trailers().await?;
        let late = late.and_then(|trailers| trailers.get("grpc-status").cloned());
        let status = early.or(late).context("an answer has a status")?;
        Ok(status.to_str()?.parse()?)
    }
}

/// As gRPC frames a message, with what it says of its length, and whether it is compressed.
fn framed(compressed: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut body = vec![compressed];
    body.extend(length.to_be_bytes());
    body.extend(message);
    body
}

fn proper(message: &[u8]) -> Vec<u8> {
    framed(
        0,
        u32::try_from(message.len()).expect("it is short"),
        message,
    )
}

/// A message that could be meant for one of the methods.
fn meant(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..3) {
        0 => PauseRequest {
            run: "01900000-0000-7000-8000-000000000000".to_owned(),
            reason: FORGED.to_owned(),
        }
        .encode_to_vec(),
        1 => {
            let hello = Hello {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                name: "host:1".to_owned(),
                slots: random.random(),
                labels: [("region".to_owned(), "eu".to_owned())].into(),
            };
            let message = Some(worker_message::Message::Hello(hello));
            WorkerMessage { message }.encode_to_vec()
        }
        _ => {
            let order = SubmitOrder {
                run: "01900000-0000-7000-8000-000000000000".to_owned(),
                database: "erp".to_owned(),
                options: vec!["--commit".to_owned()],
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let part = Some(submit_part::Part::Order(order));
            SubmitPart { part }.encode_to_vec()
        }
    }
}

fn body(random: &mut StdRng) -> Vec<u8> {
    let mut message: Vec<u8> = match random.random_bool(0.5) {
        true => meant(random),
        false => (0..random.random_range(0..300))
            .map(|_| random.random())
            .collect(),
    };
    for _ in 0..random.random_range(0..4) {
        if !message.is_empty() {
            let at = random.random_range(0..message.len());
            message[at] = random.random();
        }
    }
    match random.random_range(0..6) {
        0 => framed(random.random(), random.random(), &message),
        1 => framed(
            1,
            u32::try_from(message.len()).expect("it is short"),
            &message,
        ),
        2 => proper(&message)[..random.random_range(0..message.len() + 5)].to_vec(),
        3 => [proper(&message), proper(&message)].concat(),
        _ => proper(&message),
    }
}

#[tokio::test]
async fn messages_that_are_none_are_refused() -> Result<()> {
    let mut rig = Rig::new("").await?;
    for (i, method) in METHODS.into_iter().enumerate() {
        let from = 10 + u8::try_from(i)?;
        let mut line = Line::open(&rig, from).await?;
        let wrong = [
            ("more is announced than comes", framed(0, 100, b"abc")),
            ("4 GB are announced", framed(0, u32::MAX, b"abc")),
            ("compressed, by nothing", framed(1, 3, b"abc")),
            ("no such flag", framed(77, 3, b"abc")),
            ("half a prefix", vec![0, 0]),
            ("5 MB", proper(&vec![b'x'; 5 << 20])),
        ];
        for (what, body) in wrong {
            let ended = timeout(DEADLINE, line.call(method, body)).await;
            let status = ended.with_context(|| format!("{method}, {what}: no end"))??;
            // tonic's reflection ends such a stream as if nothing had been.
            let may_end_well = method.starts_with("grpc.reflection");
            ensure!(status != 0 || may_end_well, "{method}, {what}: granted");
        }
        rig.is_well(method).await?;
    }
    for seed in seeds(1..26) {
        let mut random = StdRng::seed_from_u64(seed);
        let from = u8::try_from(30 + seed % 200)?;
        let mut line = Line::open(&rig, from).await?;
        for method in METHODS {
            // Whatever comes of it, the connection goes on.
            let streams = STREAMS.contains(&method);
            let patience = if streams { GOES_ON } else { DEADLINE };
            let said = || format!("UPSHIFT_SEED={seed}, {method}");
            match timeout(patience, line.call(method, body(&mut random))).await {
                Ok(ended) => drop(ended.with_context(said)?),
                Err(_) => ensure!(streams, "{}: no end", said()),
            }
        }
        if seed % 10 == 0 {
            rig.is_well(&format!("UPSHIFT_SEED={seed}")).await?;
        }
    }
    rig.is_well("all").await?;
    rig.end().await?;
    Ok(())
}
