//! What a fleet is submitted with: `fleet.toml` and the files that it names, options, the pack. In the
//! cluster's store it is a line of JSON that says what follows, and then the contents, cut into parts.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use upshift_proto::v1::PackFile;
use upshift_shared::{Error, Result, fleet::FleetFile, ids::RunId};

use super::super::super::{Failure, cluster::files};
use crate::{
    coordination::{Coordination, PART_BYTES},
    server::{FleetUpload, Upload},
};

/// A fleet may be so large, its pack and its order together: all of it is kept in etcd.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// The format that this program writes.
const VERSION: u32 = 1;

/// A submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Submission {
    /// The path of fleet.toml among the texts.
    file: String,
    /// Options of `upshift run`.
    pub(super) options: Vec<String>,
    texts: BTreeMap<String, String>,
    pack: Vec<(String, Vec<u8>)>,
}

/// What the line says.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    file: String,
    options: Vec<String>,
    texts: Vec<(String, u64)>,
    pack: Vec<(String, u64)>,
}

/// The order that is in that file, with all that it names in it.
pub(super) fn order(texts: &BTreeMap<String, String>, file: &str) -> Result<FleetFile, Failure> {
    let text = texts.get(file);
    let text = text.ok_or_else(|| Failure::usage(format!("{file} has not come with the fleet")))?;
    let order = FleetFile::parse(text, Path::new(file));
    let order = order.and_then(|order| {
        order.with_files(|path| {
            let text = texts.get(path.to_str()?)?;
            Some(text.as_str())
        })
    });
    order.map_err(|error| Failure::from(without_line(error)))
}

/// A complaint without the line that it is about: that may hold a password, and goes into the log.
fn without_line(error: Error) -> Error {
    let Error::Config(complaint) = error else {
        return error;
    };
    let place = complaint.find("\n  --> ").map(|start| start + 1);
    let end = place.and_then(|place| complaint[place..].find('\n').map(|length| place + length));
    Error::Config(complaint[..end.unwrap_or(complaint.len())].to_owned())
}

impl Submission {
    /// Of what an operator has sent.
    pub(super) fn of(upload: FleetUpload) -> Result<Self, Failure> {
        let pack = files::collect(upload.pack.folder())?;
        Ok(Self {
            file: upload.head.file,
            options: upload.head.options,
            texts: upload.order,
            pack,
        })
    }

    /// The order, with all that it names in it. Its pack is still to be put somewhere.
    pub(super) fn order(&self) -> Result<FleetFile, Failure> {
        order(&self.texts, &self.file)
    }

    /// Puts the pack into a folder that goes with what is returned.
    pub(super) fn unpack(&self) -> Result<Upload, Failure> {
        let refused = |status: tonic::Status| Failure::failed(status.message().to_owned());
        let mut upload = Upload::begin(MOST_BYTES).map_err(refused)?;
        for (path, content) in &self.pack {
            let piece = PackFile {
                path: path.clone(),
                content: content.clone(),
            };
            upload.take(&piece).map_err(refused)?;
        }
        Ok(upload)
    }

    /// As it is kept.
    fn encoded(&self) -> Vec<u8> {
        let size = |content: &[u8]| content.len() as u64;
        let head = Head {
            version: VERSION,
            file: self.file.clone(),
            options: self.options.clone(),
            texts: self
                .texts
                .iter()
                .map(|(path, text)| (path.clone(), size(text.as_bytes())))
                .collect(),
            pack: self
                .pack
                .iter()
                .map(|(path, content)| (path.clone(), size(content)))
                .collect(),
        };
        let mut bytes = serde_json::to_vec(&head).expect("it is plain data");
        bytes.push(b'\n');
        let texts = self.texts.values().map(String::as_bytes);
        for content in texts.chain(self.pack.iter().map(|(_, content)| content.as_slice())) {
            bytes.extend_from_slice(content);
        }
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::Format(format!("a fleet in the cluster's store {why}"));
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| bad("is not whole"))?;
        let head: Head = serde_json::from_slice(&bytes[..end])
            .map_err(|error| bad(&format!("cannot be read: {error}")))?;
        if head.version > VERSION {
            return Err(bad(&format!(
                "has format {}, this program knows up to {VERSION}: use a newer one",
                head.version
            )));
        }
        let mut rest = &bytes[end + 1..];
        let mut next = |size: u64| {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let content = rest.get(..size).ok_or_else(|| bad("is not whole"))?;
            rest = &rest[size..];
            Ok::<_, Error>(content.to_vec())
        };
        let mut texts = BTreeMap::new();
        for (path, size) in head.texts {
            let text = String::from_utf8(next(size)?).map_err(|_| bad("holds no text"))?;
            texts.insert(path, text);
        }
        let mut pack = Vec::with_capacity(head.pack.len());
        for (path, size) in head.pack {
            pack.push((path, next(size)?));
        }
        Ok(Self {
            file: head.file,
            options: head.options,
            texts,
            pack,
        })
    }

    /// As it is kept, where there is room for it.
    pub(super) fn to_keep(&self) -> Result<Vec<u8>, Failure> {
        let bytes = self.encoded();
        if bytes.len() as u64 <= MOST_BYTES {
            return Ok(bytes);
        }
        Err(Failure::refused(format!(
            "the pack and the order of this fleet have {} bytes, and the cluster's store keeps {MOST_BYTES} of \
             a fleet: leave out of the pack what no migration needs, and name databases by like or by a query",
            bytes.len()
        )))
    }

    /// Writes it, in parts.
    pub(super) async fn keep(
        bytes: &[u8],
        submission: RunId,
        store: &dyn Coordination,
    ) -> Result<()> {
        for (number, part) in (0..).zip(bytes.chunks(PART_BYTES)) {
            store.put_submission(submission, number, part).await?;
        }
        Ok(())
    }

    /// Reads it.
    pub(super) async fn read(submission: RunId, store: &dyn Coordination) -> Result<Self> {
        let parts = store.submission(submission).await?;
        Self::decoded(&parts.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Embedded;

    fn submission(content: usize) -> Submission {
        let text = "pack = \"p\"\n[[members]]\nfile = \"t.txt\"\n";
        Submission {
            file: "away/night.toml".to_owned(),
            options: vec!["--passes=shadow".to_owned()],
            texts: [
                ("away/night.toml".to_owned(), text.to_owned()),
                ("away/t.txt".to_owned(), "db1/a\ndb1/b\n".to_owned()),
            ]
            .into(),
            pack: vec![
                ("base/pre-a.sql".to_owned(), vec![b'\n'; content]),
                ("pack.toml".to_owned(), b"name = \"x\"".to_vec()),
                ("empty".to_owned(), Vec::new()),
            ],
        }
    }

    #[tokio::test]
    async fn it_is_read_as_it_was_kept() {
        let store = Embedded::default();
        let (id, kept) = (RunId::generate(), submission(3 * PART_BYTES));
        let bytes = kept.to_keep().unwrap();
        Submission::keep(&bytes, id, &store).await.unwrap();
        let parts = store.submission(id).await.unwrap();
        assert_eq!(parts.len(), 4);
        let read = Submission::read(id, &store).await.unwrap();
        assert_eq!(read, kept);
        let order = read.order().unwrap();
        assert_eq!((order.name.as_str(), order.files().count()), ("night", 0));
        let pack = read.unpack().unwrap();
        let text = std::fs::read_to_string(pack.folder().join("pack.toml")).unwrap();
        assert_eq!(text, "name = \"x\"");
        // One that was cut off is no submission.
        assert!(Submission::decoded(&bytes[..bytes.len() - 1]).is_err());
        assert!(Submission::decoded(b"{}").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_line() {
        let said = |member: &str| {
            let text = format!("pack = \"p\"\n[[members]]\n{member}\n");
            let texts = [("fleet.toml".to_owned(), text)].into();
            order(&texts, "fleet.toml").unwrap_err()
        };
        assert_eq!(
            said("server = \"host=x password=secret\"").message(),
            "a server is the NAME of an entry [databases.NAME] of upshift.toml\n  --> fleet.toml:3:10"
        );
        assert!(!said("server = \"secret").message().contains("secret"));
    }

    #[test]
    fn what_is_too_large_is_refused_in_words() {
        let refused = submission(MOST_BYTES as usize).to_keep().unwrap_err();
        assert!(refused.message().contains("16777216"), "{refused:?}");
    }
}
