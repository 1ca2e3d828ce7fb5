//! `upshift certs`: a CA and certificates for all parts of a cluster, to try it with. Who runs a cluster for
//! long has a CA of his own, which makes certificates of the same kind.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use upshift_shared::{clock, config::Role};

use super::{Failure, database::print_line};

/// `upshift certs DIR`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where they go: ca.pem, ca.key, and ROLE.pem and ROLE.key of each role. None that is there is
    /// written over
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A host name or address by which coordinators are reached; may be given several times
    /// [default: localhost, 127.0.0.1 and ::1]
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// How long they are good for, in days
    #[arg(long, value_name = "DAYS", default_value_t = 365,
          value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Make nothing where ca.pem and the certificates of all roles are there already
    #[arg(long)]
    keep: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let names = Role::ALL.map(Role::name);
    let there = |name: &str| directory.join(format!("{name}.pem")).exists();
    if arguments.keep && there("ca") && names.into_iter().all(there) {
        print_line(&format!(
            "certificates are in {} already",
            directory.display()
        ));
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(|error| cannot("make", directory, &error))?;
    let made = |error: rcgen::Error| Failure::failed(format!("cannot make a certificate: {error}"));
    let (ca_file, ca_key_file) = (directory.join("ca.pem"), directory.join("ca.key"));
    let ca_key = KeyPair::generate().map_err(made)?;
    let parameters = authority(arguments.days).map_err(made)?;
    let ca = parameters.self_signed(&ca_key).map_err(made)?;
    write(&ca_key_file, &ca_key.serialize_pem(), true)?;
    write(&ca_file, &ca.pem(), false)?;
    let issuer = Issuer::new(parameters, ca_key);
    for role in Role::ALL {
        let key = KeyPair::generate().map_err(made)?;
        let parameters = of_role(role, arguments).map_err(made)?;
        let certificate = parameters.signed_by(&key, &issuer).map_err(made)?;
        let file = |ending: &str| directory.join(format!("{}.{ending}", role.name()));
        write(&file("key"), &key.serialize_pem(), true)?;
        write(&file("pem"), &certificate.pem(), false)?;
    }
    print_line(&format!(
        "certificates of {}, good for {} days, are in {}; whoever has ca.key can make more: keep \
         it off the machines of the cluster",
        names.join(", "),
        arguments.days,
        directory.display()
    ));
    Ok(())
}

/// Valid from yesterday on, for clocks that are not quite right.
fn valid(mut parameters: CertificateParams, days: u32) -> CertificateParams {
    let day = time::Duration::DAY;
    let now = time::OffsetDateTime::UNIX_EPOCH + clock::since_epoch();
    parameters.not_before = now - day;
    parameters.not_after = now + day * days;
    parameters
}

fn authority(days: u32) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = valid(CertificateParams::new(Vec::new())?, days);
    let name = &mut parameters.distinguished_name;
    name.push(DnType::CommonName, "upshift test CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn of_role(role: Role, arguments: &Arguments) -> Result<CertificateParams, rcgen::Error> {
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let hosts = match (role, arguments.hosts.is_empty()) {
        (Role::Coordinator, true) => local.to_vec(),
        (Role::Coordinator, false) => arguments.hosts.clone(),
        _ => Vec::new(),
    };
    let mut parameters = valid(CertificateParams::new(hosts)?, arguments.days);
    let name = &mut parameters.distinguished_name;
    name.push(DnType::OrganizationName, role.organization());
    name.push(DnType::CommonName, role.name());
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if role == Role::Coordinator {
        let purposes = &mut parameters.extended_key_usages;
        purposes.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(parameters)
}

/// Writes a file that is not there yet; a key is for its owner alone.
fn write(path: &Path, text: &str, secret: bool) -> Result<(), Failure> {
    let mode = if secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::refused(format!(
            "{} is there already: take another folder, or remove the files",
            path.display()
        )),
        _ => cannot("write", path, &error),
    })
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}
