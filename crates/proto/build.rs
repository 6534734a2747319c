//! Compiles `proto/**` with protox, a protobuf compiler in Rust, so that nobody needs `protoc` installed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

const FILES: [&str; 5] = [
    "ringfence/v1/header.proto",
    "ringfence/v1/lock.proto",
    "ringfence/v1/kv.proto",
    "ringfence/v1/cluster.proto",
    "ringfence/internal/v1/node.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".ringfence") // keys and values are shared slices of the received message, never copied
        .btree_map(".ringfence") // equal messages encode to equal bytes
        .compile_fds(descriptors)?;
    Ok(())
}
