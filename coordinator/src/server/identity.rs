//! Who asks: the subject of a client's certificate, or a token, says who it is and what role it has.
//!
//! The organization (O) of the certificate's subject names the role, its common name (CN) the holder: the
//! same way that Kubernetes reads client certificates (its documentation, "Authenticating", X.509 client
//! certificates). Where neither is asked for, on loopback or where the configuration says so in words,
//! whoever can connect may do everything.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use sha2::{Digest, Sha256};
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};
use upshift_shared::config::{Role, Token};
use upshift_worker::link::VERSION;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{listener::Connections, rates::Log};

/// Characters of a holder's name.
const NAME_LENGTH: usize = 128;
/// And of a version.
const VERSION_LENGTH: usize = 32;

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// By which it is known: the certificate's common name, the token's name.
    pub name: String,
    /// What it may do; `None` for everything.
    role: Option<Role>,
}

impl Identity {
    /// Whoever speaks over a socket that nobody else can reach.
    #[must_use]
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            role: None,
        }
    }

    /// Whether it may do what is for this role.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` where it may not.
    pub fn expect(&self, role: Role) -> Result<(), Status> {
        match self.role {
            Some(own) if !own.may(role) => Err(Status::permission_denied(format!(
                "{} is {}, and this is for {}",
                self.name,
                own.name(),
                role.name()
            ))),
            _ => Ok(()),
        }
    }
}

/// Looks who asks, before anything else is done for it.
#[derive(Debug, Clone)]
pub struct Doorman {
    tokens: Arc<BTreeMap<String, Token>>,
    /// Whether somebody without certificate and token is let in.
    anybody: bool,
    log: Arc<Log>,
    connections: Arc<Connections>,
}

impl Doorman {
    /// Knows these tokens. `anybody`: no certificates are asked for; then, and where there are no tokens
    /// either, everybody may do everything.
    #[must_use]
    pub fn new(tokens: BTreeMap<String, Token>, anybody: bool) -> Self {
        Self {
            anybody: anybody && tokens.is_empty(),
            tokens: Arc::new(tokens),
            log: Arc::default(),
            connections: Arc::default(),
        }
    }

    /// The connections that it is told of.
    pub(super) fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    fn identify(&self, request: &Request<()>) -> Result<Identity, Status> {
        if let Some(token) = bearer(request.metadata())? {
            return self.of_token(token);
        }
        let certificates = request.peer_certs();
        let first = certificates.as_deref().and_then(|all| all.first());
        match first {
            Some(certificate) => of_certificate(certificate),
            None if self.anybody => Ok(Identity::local()),
            None => Err(Status::unauthenticated(
                "show a certificate or a token: [cluster.tls], token_env or token_command of [cluster]",
            )),
        }
    }

    fn of_token(&self, token: &str) -> Result<Identity, Status> {
        let digest = hexadecimal(&Sha256::digest(token));
        let known = self.tokens.iter().find(|(_, known)| known.sha256 == digest);
        let (name, known) =
            known.ok_or_else(|| Status::unauthenticated("this token is not known here"))?;
        Ok(Identity {
            name: name.clone(),
            role: Some(known.role),
        })
    }
}

impl Interceptor for Doorman {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let known = self.identify(&request);
        let known = known.and_then(|who| same_version(request.metadata()).map(|()| who));
        let identity = known.inspect_err(|refusal| {
            // Nothing of what was shown: it may be a token of another cluster.
            if self.log.has_room() {
                let from = request.remote_addr();
                tracing::warn!(?from, why = refusal.message(), "somebody was turned away");
            }
        })?;
        if let Some(from) = request.remote_addr() {
            self.connections.let_in(from);
        }
        request.extensions_mut().insert(identity);
        Ok(request)
    }
}

/// Refuses a part of Upshift that is of another version, which it says of itself; whoever is no part of it
/// says nothing. Both sides are told: it in the answer, whoever looks after the coordinator in its log.
fn same_version(metadata: &MetadataMap) -> Result<(), Status> {
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = match metadata.get(VERSION) {
        Some(version) if version != ours => {
            shown(&String::from_utf8_lossy(version.as_bytes()), VERSION_LENGTH)
        }
        _ => return Ok(()),
    };
    Err(Status::failed_precondition(format!(
        "this coordinator is version {ours}, and who asks is {theirs}: install the same version on both"
    )))
}

/// Who asks, where a [`Doorman`] has looked.
///
/// # Errors
/// `UNAUTHENTICATED` where none has.
pub fn identity<T>(request: &Request<T>) -> Result<Identity, Status> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| Status::unauthenticated("nobody has looked who asks"))
}

fn bearer(metadata: &MetadataMap) -> Result<Option<&str>, Status> {
    let Some(value) = metadata.get("authorization") else {
        return Ok(None);
    };
    let text = value.to_str().ok();
    match text.and_then(|text| text.strip_prefix("Bearer ")) {
        Some(token) if !token.is_empty() => Ok(Some(token)),
        _ => Err(Status::unauthenticated(
            "authorization has to be: Bearer TOKEN",
        )),
    }
}

/// What the subject of a certificate says. That it is genuine, the handshake has seen to.
fn of_certificate(der: &[u8]) -> Result<Identity, Status> {
    let unreadable = |_| Status::unauthenticated("the certificate cannot be read");
    let (_, certificate) = X509Certificate::from_der(der).map_err(unreadable)?;
    let subject = certificate.subject();
    let organizations = subject.iter_organization();
    let mut organizations = organizations.filter_map(|name| name.as_str().ok());
    let role = organizations.find_map(|name| {
        Role::ALL
            .into_iter()
            .find(|role| role.organization() == name)
    });
    let Some(role) = role else {
        let roles = Role::ALL.map(Role::organization);
        return Err(Status::permission_denied(format!(
            "the certificate names no role: the organization (O) of its subject has to be one of {}",
            roles.join(", ")
        )));
    };
    let name = subject.iter_common_name().next();
    Ok(Identity {
        name: shown(
            name.and_then(|name| name.as_str().ok())
                .unwrap_or("unnamed"),
            NAME_LENGTH,
        ),
        role: Some(role),
    })
}

/// A text of somebody else's making, fit for a line of a log and for a terminal: without control characters,
/// without those that break lines or turn the direction of writing (Unicode, "General Category" Zl and Zp,
/// and UAX #9), and no longer than that.
pub(super) fn shown(text: &str, length: usize) -> String {
    let plain = text.chars().filter(|c| {
        let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        !c.is_control() && !turns
    });
    plain.take(length).collect()
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(token: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("plain");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    fn tokens() -> BTreeMap<String, Token> {
        let token = Token {
            role: Role::Viewer,
            sha256: hexadecimal(&Sha256::digest("let me look")),
        };
        BTreeMap::from([("screen".to_owned(), token)])
    }

    #[test]
    fn another_version_is_refused() {
        let mut doorman = Doorman::new(BTreeMap::new(), true);
        let mut asking = |version: Option<&str>| {
            let mut request = asking(None);
            if let Some(version) = version {
                let version = version.parse().expect("a line of text");
                request.metadata_mut().insert(VERSION, version);
            }
            doorman.call(request)
        };
        assert!(asking(None).is_ok(), "it may be no part of Upshift");
        assert!(asking(Some(env!("CARGO_PKG_VERSION"))).is_ok());
        let refused = asking(Some("0.0.1")).expect_err("it is another version");
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        for version in ["0.0.1", env!("CARGO_PKG_VERSION")] {
            assert!(refused.message().contains(version), "{refused}");
        }
    }

    #[test]
    fn tokens_say_who_asks() {
        let mut doorman = Doorman::new(tokens(), true);
        let known = doorman.call(asking(Some("let me look"))).expect("known");
        let who = identity(&known).expect("it was looked");
        assert_eq!(who.name, "screen");
        assert!(who.expect(Role::Viewer).is_ok());
        for role in [Role::Operator, Role::Worker, Role::Coordinator] {
            let refused = who.expect(role).expect_err("it may only look");
            assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        }
        for stranger in [asking(None), asking(Some("let me in"))] {
            let refused = doorman.call(stranger).expect_err("not known");
            assert_eq!(refused.code(), tonic::Code::Unauthenticated);
        }
    }

    #[test]
    fn without_certificates_and_tokens_everybody_may_do_everything() {
        let mut open = Doorman::new(BTreeMap::new(), true);
        let anybody = open.call(asking(None)).expect("nobody is asked");
        let who = identity(&anybody).expect("it was looked");
        assert!(Role::ALL.into_iter().all(|role| who.expect(role).is_ok()));
        let mut closed = Doorman::new(BTreeMap::new(), false);
        assert!(closed.call(asking(None)).is_err());
        assert!(identity(&asking(None)).is_err(), "nobody has looked");
    }

    #[test]
    fn certificates_say_who_asks() {
        let certificate = |organization: &str| {
            let mut parameters = rcgen::CertificateParams::default();
            let name = &mut parameters.distinguished_name;
            name.push(rcgen::DnType::CommonName, "night\nshift");
            name.push(rcgen::DnType::OrganizationName, organization);
            let key = rcgen::KeyPair::generate().expect("a key");
            let made = parameters.self_signed(&key).expect("a certificate");
            made.der().to_vec()
        };
        let who = of_certificate(&certificate("upshift-operator")).expect("it has a role");
        assert_eq!(who.name, "nightshift");
        assert!(who.expect(Role::Viewer).is_ok());
        assert!(who.expect(Role::Worker).is_err());
        assert!(of_certificate(&certificate("Example Ltd")).is_err());
        assert!(of_certificate(b"nonsense").is_err());
    }
}
