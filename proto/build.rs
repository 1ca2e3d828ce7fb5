//! Generates the gRPC code from `upshift/v1/*.proto` without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Paths in the descriptors are relative to this crate.
    println!("cargo:rerun-if-changed=upshift");
    let descriptors = protox::compile(
        ["upshift/v1/session.proto", "upshift/v1/operator.proto"],
        ["."],
    )?;
    // What gRPC reflection tells.
    let folder = std::env::var("OUT_DIR")?;
    let encoded = prost::Message::encode_to_vec(&descriptors);
    std::fs::write(format!("{folder}/descriptors.bin"), encoded)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
