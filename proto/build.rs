//! Generates the gRPC code from `upshift/v1/*.proto` without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Paths in the descriptors are relative to this crate.
    println!("cargo:rerun-if-changed=upshift");
    let descriptors = protox::compile(
        ["upshift/v1/session.proto", "upshift/v1/operator.proto"],
        ["."],
    )?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
