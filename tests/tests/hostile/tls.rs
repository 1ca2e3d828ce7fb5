//! Certificates and tokens: who is let in, and what each may do.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio_stream::{empty, iter};
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use upshift_proto::v1::{
    CommitRequest, DrainRequest, PauseRequest, ResumeRequest, RollbackRequest, StatusRequest,
    WatchRequest, WorkersRequest, operator_client::OperatorClient, session_client::SessionClient,
};
use upshift_tests::{
    cluster::{self, sha256},
    eventually_async,
    harness::Upshift,
    small_erp,
};

use crate::rig::{DEADLINE, Rig, SECRETS, exchange};

const RUN: &str = "01900000-0000-7000-8000-000000000000";
const METHODS: [&str; 10] = [
    "Status", "Watch", "Workers", "Submit", "Pause", "Resume", "Rollback", "Commit", "Drain",
    "Open",
];
/// What a handshake that fails looks like to a client, before the first answer and after.
const HANDSHAKE: &[Code] = &[Code::Unavailable, Code::Unknown, Code::Cancelled];
const LOOKING: &[&str] = &["Status", "Watch", "Workers"];

/// Roles that have a token.
const TOKENS: [&str; 3] = ["viewer", "operator", "worker"];

/// A coordinator with certificates and tokens.
struct Guarded {
    rig: Rig,
    certs: PathBuf,
}

impl Guarded {
    async fn new(tokens: &[&str]) -> Result<Self> {
        let database = small_erp::database().await?;
        let shown = tokens.iter().map(|role| (*role, token_of(role)));
        let shown: Vec<(&str, String)> = shown.collect();
        let shown: Vec<(&str, &str)> = (shown.iter())
            .map(|(role, token)| (*role, token.as_str()))
            .collect();
        let guarded = cluster::Guarded::new(&database, &shown, "")?;
        let certs = guarded.certificates("certs")?;
        let coordinator = guarded.call("coordinator", &["coordinator"])?;
        let coordinator = coordinator.variable("UPSHIFT_LOG", "warn");
        let rig = Rig::start(guarded.cluster, database, coordinator)?;
        let guarded = Self { rig, certs };
        let operator = guarded.of_role("operator")?;
        // It says that it leads a moment before it does.
        eventually_async("somebody is let in", DEADLINE, async || {
            Ok(guarded.ask(&operator, "Status").await.is_ok())
        })
        .await?;
        Ok(guarded)
    }

    fn of_role(&self, role: &str) -> Result<Shown> {
        let read = |ending: &str| fs::read(self.certs.join(format!("{role}.{ending}")));
        Ok(Shown {
            identity: Some(Identity::from_pem(read("pem")?, read("key")?)),
            token: None,
        })
    }

    async fn ask(&self, shown: &Shown, method: &str) -> Result<(), Status> {
        call(self.rig.address, &self.certs.join("ca.pem"), shown, method).await
    }

    /// Whether an honest operator is answered.
    async fn is_well(&mut self, after: &str) -> Result<()> {
        let answer = self.ask(&self.of_role("operator")?, "Status").await;
        answer.with_context(|| format!("after {after}"))?;
        self.rig.memory_is_bounded(after)
    }
}

/// What somebody shows.
#[derive(Clone, Default)]
struct Shown {
    identity: Option<Identity>,
    token: Option<String>,
}

fn token(token: &str) -> Shown {
    Shown {
        identity: None,
        token: Some(token.to_owned()),
    }
}

/// What who has a role's token shows.
fn token_of(role: &str) -> String {
    format!("{}-{role}", SECRETS[0])
}

async fn connect(address: SocketAddr, ca: &Path, shown: &Shown) -> Result<Channel> {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca)?));
    if let Some(identity) = &shown.identity {
        tls = tls.identity(identity.clone());
    }
    let endpoint = Endpoint::try_from(format!("https://localhost:{}", address.port()))?;
    Ok(endpoint.tls_config(tls)?.connect().await?)
}

/// Calls it with something that does nothing where it is granted. A handshake that fails is `Unavailable`, as
/// tonic itself has it of one that fails late.
async fn call(address: SocketAddr, ca: &Path, shown: &Shown, method: &str) -> Result<(), Status> {
    let channel = connect(address, ca, shown).await;
    let channel = channel.map_err(|error| Status::unavailable(format!("{error:#}")))?;
    let bearer = shown.token.as_ref().map(|token| format!("Bearer {token}"));
    let show = |mut request: Request<()>| {
        if let Some(bearer) = &bearer {
            let value = bearer.parse().expect("it is plain");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    };
    let run = || RUN.to_owned();
    if method == "Open" {
        let mut session = SessionClient::with_interceptor(channel, show);
        return session.open(empty()).await.map(|_| ());
    }
    let mut operator = OperatorClient::with_interceptor(channel, show);
    match method {
        "Status" => operator.status(StatusRequest::default()).await.map(|_| ()),
        "Watch" => operator.watch(WatchRequest::default()).await.map(|_| ()),
        "Workers" => operator.workers(WorkersRequest {}).await.map(|_| ()),
        "Submit" => operator.submit(iter([])).await.map(|_| ()),
        "Pause" => {
            let reason = String::new();
            operator
                .pause(PauseRequest { run: run(), reason })
                .await
                .map(|_| ())
        }
        "Resume" => operator
            .resume(ResumeRequest { run: run() })
            .await
            .map(|_| ()),
        "Rollback" => {
            let (to, force) = (String::new(), true);
            operator
                .rollback(RollbackRequest {
                    run: run(),
                    to,
                    force,
                })
                .await
                .map(|_| ())
        }
        "Commit" => operator
            .commit(CommitRequest { run: run() })
            .await
            .map(|_| ()),
        _ => operator.drain(DrainRequest { worker: 7 }).await.map(|_| ()),
    }
}

/// Granted, or refused for what it asks and not for who asks.
fn is_let_in(answer: &Result<(), Status>) -> bool {
    match answer {
        Ok(()) => true,
        Err(status) => matches!(
            status.code(),
            Code::InvalidArgument | Code::FailedPrecondition
        ),
    }
}

#[tokio::test]
async fn each_role_may_do_what_is_its_own() -> Result<()> {
    let mut guarded = Guarded::new(&TOKENS).await?;
    let operators: Vec<&str> = METHODS.into_iter().filter(|m| *m != "Open").collect();
    for (role, may) in [
        ("viewer", LOOKING),
        ("operator", &operators),
        ("worker", &["Open"]),
        ("coordinator", &operators),
    ] {
        let mut shown = vec![guarded.of_role(role)?];
        if TOKENS.contains(&role) {
            shown.push(token(&token_of(role)));
        }
        for shown in shown {
            for method in METHODS {
                let answer = guarded.ask(&shown, method).await;
                if may.contains(&method) {
                    ensure!(is_let_in(&answer), "{role} may {method}: {answer:?}");
                } else {
                    let code = answer.as_ref().err().map(Status::code);
                    ensure!(
                        code == Some(Code::PermissionDenied),
                        "{role}, {method}: {answer:?}"
                    );
                }
            }
        }
        guarded.is_well(role).await?;
    }
    let said = guarded.rig.end().await?;
    ensure!(said.contains("a call was refused"), "{said}");
    ensure!(
        said.contains("a worker was refused") || said.contains("is for worker"),
        "{said}"
    );
    Ok(())
}

/// A certificate of that CA for a client, with what `change` makes of it.
fn certificate(
    (ca_name, ca_key): (&str, KeyPair),
    change: impl FnOnce(&mut CertificateParams),
) -> Result<Shown> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority
        .distinguished_name
        .push(DnType::CommonName, ca_name);
    let issuer = Issuer::new(authority, ca_key);
    let mut parameters = CertificateParams::default();
    let name = &mut parameters.distinguished_name;
    name.push(DnType::OrganizationName, "upshift-operator");
    name.push(DnType::CommonName, "mallory");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut parameters);
    let key = KeyPair::generate()?;
    let made = parameters.signed_by(&key, &issuer)?;
    Ok(Shown {
        identity: Some(Identity::from_pem(made.pem(), key.serialize_pem())),
        token: None,
    })
}

type Stranger = (&'static str, Shown, &'static [Code]);

/// Certificates that are not right, made by the CA with that key.
fn wrong_certificates(key: &str) -> Result<Vec<Stranger>> {
    let ca = || anyhow::Ok(("upshift test CA", KeyPair::from_pem(key)?));
    let role = |role: &'static str| {
        move |parameters: &mut CertificateParams| {
            let name = &mut parameters.distinguished_name;
            name.push(DnType::OrganizationName, role);
        }
    };
    Ok(vec![
        (
            "expired",
            certificate(ca()?, |p| {
                p.not_before = rcgen::date_time_ymd(2001, 1, 1);
                p.not_after = rcgen::date_time_ymd(2002, 1, 1);
            })?,
            HANDSHAKE,
        ),
        (
            "not yet valid",
            certificate(ca()?, |p| {
                p.not_before = rcgen::date_time_ymd(2101, 1, 1);
                p.not_after = rcgen::date_time_ymd(2102, 1, 1);
            })?,
            HANDSHAKE,
        ),
        (
            "of another CA",
            certificate(("upshift test CA", KeyPair::generate()?), |_| {})?,
            HANDSHAKE,
        ),
        (
            "for a server",
            certificate(ca()?, |p| {
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })?,
            HANDSHAKE,
        ),
        (
            "no role",
            certificate(ca()?, |p| {
                p.distinguished_name = rcgen::DistinguishedName::new();
            })?,
            &[Code::PermissionDenied],
        ),
        (
            "another role",
            certificate(ca()?, role("Example Ltd"))?,
            &[Code::PermissionDenied],
        ),
        (
            "nearly a role",
            certificate(ca()?, role("upshift-operator\0"))?,
            &[Code::PermissionDenied],
        ),
        (
            "large letters",
            certificate(ca()?, role("UPSHIFT-OPERATOR"))?,
            &[Code::PermissionDenied],
        ),
    ])
}

fn wrong_tokens() -> Vec<Stranger> {
    vec![
        ("nothing", Shown::default(), &[Code::Unauthenticated]),
        (
            "another token",
            token("s3cret-token"),
            &[Code::Unauthenticated],
        ),
        (
            "a digest",
            token(&sha256(&token_of("operator"))),
            &[Code::Unauthenticated],
        ),
        ("an empty token", token(""), &[Code::Unauthenticated]),
        (
            "a long token",
            token(&"x".repeat(8_000)),
            &[Code::Unauthenticated],
        ),
    ]
}

#[tokio::test]
async fn strangers_are_not_let_in() -> Result<()> {
    let mut guarded = Guarded::new(&TOKENS).await?;
    let key = fs::read_to_string(guarded.certs.join("ca.key"))?;
    // What the test makes is right, as far as it is not made wrong.
    let sane = certificate(("upshift test CA", KeyPair::from_pem(&key)?), |_| {})?;
    guarded.ask(&sane, "Status").await?;
    let strangers = [wrong_certificates(&key)?, wrong_tokens()].concat();
    for (what, shown, codes) in &strangers {
        for method in METHODS {
            let answer = guarded.ask(shown, method).await;
            let code = answer.as_ref().err().map(Status::code);
            ensure!(
                code.is_some_and(|c| codes.contains(&c)),
                "{what}, {method}: {answer:?}"
            );
        }
        guarded.is_well(what).await?;
    }
    // Who shows a certificate and a wrong token is nobody, not the one of the certificate.
    let mut both = guarded.of_role("operator")?;
    both.token = Some("wrong".to_owned());
    let answer = guarded.ask(&both, "Status").await;
    ensure!(
        answer.is_err_and(|s| s.code() == Code::Unauthenticated),
        "a wrong token"
    );
    // Plain text, and a handshake that is cut off.
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc",
    ] {
        let answer = exchange(&mut guarded.rig.connect(9).await?, bytes).await?;
        ensure!(answer.len() < 64, "an alert at the most: {answer:?}");
    }
    guarded.is_well("plain text").await?;
    let said = guarded.rig.end().await?;
    ensure!(said.contains("somebody was turned away"), "{said}");
    Ok(())
}

/// Where there are no tokens, nobody comes past the handshake without a certificate.
#[tokio::test]
async fn without_tokens_a_certificate_is_asked_for() -> Result<()> {
    let mut guarded = Guarded::new(&[]).await?;
    let token = token(&token_of("operator"));
    for shown in [Shown::default(), token] {
        for method in METHODS {
            let answer = guarded.ask(&shown, method).await;
            let code = answer.as_ref().err().map(Status::code);
            ensure!(
                code.is_some_and(|c| HANDSHAKE.contains(&c)),
                "{method}: {answer:?}"
            );
        }
    }
    guarded.is_well("no certificate").await?;
    guarded.rig.end().await?;
    Ok(())
}

/// A token is a secret: a client does not send it in plain text to another machine.
#[tokio::test]
async fn a_token_does_not_travel_in_plain_text() -> Result<()> {
    let rig = Rig::new("").await?;
    let text = fs::read_to_string(rig.cluster.file())?;
    let text = text.replacen("lease = ", "token_env = \"TOKEN\"\nlease = ", 1);
    let file = rig.cluster.folder().join("token.toml");
    fs::write(&file, text)?;
    let asked = Upshift::new(["--config"])
        .argument(&file)
        .arguments(&[
            "cluster",
            "status",
            "--coordinator",
            "http://192.0.2.1:7432",
        ])
        .variable("TOKEN", SECRETS[0])
        .run()?
        .expect_code(2)?;
    ensure!(asked.stderr.contains("insecure = true"), "{}", asked.stderr);
    ensure!(!asked.stderr.contains(SECRETS[0]), "{}", asked.stderr);
    rig.end().await?;
    Ok(())
}
