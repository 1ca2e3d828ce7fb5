//! The messages and services of Upshift's gRPC protocol, generated from `upshift/v1/*.proto`.

/// Version 1 of the protocol.
pub mod v1 {
    #![expect(
        missing_docs,
        reason = "generated; the .proto files carry the documentation"
    )]
    #![expect(clippy::too_many_lines, reason = "generated")]
    #![expect(clippy::allow_attributes, reason = "generated")]
    tonic::include_proto!("upshift.v1");
}

/// The services' descriptors, encoded, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
